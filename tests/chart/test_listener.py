"""The listener beside the server, as the chart makes it of its values. On a cluster it is tried by tests/cluster/test_listener.py."""

import asyncio
import base64
import json
import re

import pytest

from chart.objects import CHART, helm, made, needs_helm
from tesk.api.hashing import hash_secret
from tesk.api.identity import Identity
from tesk.callbacks.subscribe import rules
from tesk.errors import Unauthenticated
from tesk.http.target import Forbidden
from tesk.settings import CallbacksSettings
from tesk.settings.load import load
from tesk.signature import Keys, Unverified, verify

pytestmark = needs_helm

ON = ("--set", "listener.enabled=true")
POSTGRES = ("--set", "listener.database.existingSecret=db")


def secret_of(objects, name):
    secret = objects["Secret", name]
    data = {key: base64.b64decode(value).decode() for key, value in secret.get("data", {}).items()}
    return data | secret.get("stringData", {})


def started(objects, name, folder, **secrets):
    """The settings with which a Deployment's container starts: its files written, its variables filled in as a kubelet does."""
    spec = objects["Deployment", name]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    for source in next(each for each in spec["volumes"] if each["name"] == "config")["projected"]["sources"]:
        for item in source["secret"]["items"]:
            held = secrets.get(source["secret"]["name"]) or secret_of(objects, source["secret"]["name"])
            (folder / item["path"]).write_text(held[item["key"]])
    environ = {}
    for each in container["env"]:
        if "valueFrom" in each:
            wanted = each["valueFrom"]["secretKeyRef"]
            held = secrets.get(wanted["name"]) or secret_of(objects, wanted["name"])
            environ[each["name"]] = held[wanted["key"]]
        else:
            environ[each["name"]] = re.sub(r"\$\((\w+)\)", lambda found: environ[found[1]], each["value"])
    return load(environ={key: value.replace("/etc/tesk", str(folder)) for key, value in environ.items()}).settings


def both(objects, tmp_path, **secrets):
    folders = [tmp_path / "server", tmp_path / "listener"]
    for folder in folders:
        folder.mkdir()
    return started(objects, "tesk", folders[0], **secrets), started(objects, "tesk-listener", folders[1], **secrets)


def test_there_is_none_unless_it_is_asked_for():
    objects = made()
    assert not [name for _, name in objects if "listener" in name]
    names = {each["name"] for each in objects["Deployment", "tesk"]["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert "TESK_CALLBACKS_KEYS" not in names


def caller_of(server, token):
    return asyncio.run(Identity(server.auth).caller(f"Bearer {token}".encode()))


def signed(server, host, *, user="ann", stamp=1_800_000_000):
    body = b'{"id": "x"}'
    signature = Keys(server.callbacks.keys).sign(user, host, "x.1", stamp, body)
    return {"webhook-id": "x.1", "webhook-timestamp": str(stamp), "webhook-signature": signature}, body, stamp


def believed(keys, headers, body, stamp):
    try:
        return bool(verify(keys, headers, body, now=stamp))
    except Unverified:
        return False


def test_the_listener_verifies_what_the_server_signs_and_asks_it_by_a_token_of_its_own(tmp_path):
    server, listener = both(made(*ON), tmp_path)
    for host in (
        "tesk-listener",
        "tesk-listener.here",
        "tesk-listener.here.svc",
        "tesk-listener.here.svc.cluster.local",
    ):
        assert believed(listener.listener.keys, *signed(server, host))
    assert Keys(server.callbacks.keys).sign("ann", "elsewhere.example.org", "x.1", 0, b"") == "", "nobody else gets any"
    caller = caller_of(server, listener.listener.server_token)
    assert (caller.name, caller.admin, caller.reads_only) == ("listener", True, True)
    assert listener.listener.server == "http://tesk.here.svc:80"
    assert len({server.auth.token, listener.listener.token, listener.listener.server_token}) == 3
    with pytest.raises(Unauthenticated):
        caller_of(server, listener.listener.token)


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ([], "http://tesk-listener.here.svc/webhook"),
        (["--set", "listener.service.port=90"], "http://tesk-listener.here.svc:90/webhook"),
        (["--set", "settings.callbacks.hosts={example.org}"], "http://tesk-listener.here.svc/webhook"),
        (["--set-string", "settings.callbacks.ports={443}"], "http://tesk-listener.here.svc/webhook"),
        (["--set", "settings.callbacks.allow={10.1.0.0/16}"], "http://tesk-listener.here.svc/webhook"),
    ],
)
def test_the_server_may_call_the_listener_in_the_cluster_and_nobody_else_there(tmp_path, arguments, url):
    server, listener = both(made(*ON, *arguments), tmp_path)
    allowed = rules(server.callbacks)
    assert url == f"{listener.listener.url}/webhook"
    target = allowed.check(url)
    assert allowed.allowed(target.host, ["10.96.0.9"]) == ["10.96.0.9"]
    with pytest.raises(Forbidden):
        allowed.allowed("tesk.here.svc", ["10.96.0.9"])


@pytest.mark.parametrize(
    ("arguments", "first"),
    [([], "*"), (["--set", "settings.listener.servers={*.example.org}"], "*.example.org")],
)
def test_subscriptions_may_have_the_releases_server_asked_beside_those_of_the_settings(tmp_path, arguments, first):
    _, listener = both(made(*ON, *arguments), tmp_path)
    names = ("tesk", "tesk.here", "tesk.here.svc", "tesk.here.svc.cluster.local")
    assert listener.listener.servers == (first, *names)


def test_ports_that_may_be_called_by_themselves_are_those_of_the_server(tmp_path):
    server, _ = both(made(*ON), tmp_path)
    assert server.callbacks.ports == CallbacksSettings().ports


def test_keys_and_tokens_that_were_there_before_go_on_being_good(tmp_path):
    old = "whsec_" + base64.b64encode(b"o" * 32).decode()
    settings = {
        "callbacks": {"keys": [{"secret": old, "user": "ann"}]},
        "listener": {"keys": [old], "quiet_seconds": 9},
    }
    tokens = [{"name": name, "tokenHash": hash_secret(name * 24, "token")} for name in "ab"]
    objects = made(
        *ON, "--set-json", f"settings={json.dumps(settings)}", "--set-json", f"auth.tokens={json.dumps(tokens)}"
    )
    server, listener = both(objects, tmp_path)
    assert believed([old], *signed(server, "elsewhere.example.org"))
    assert not believed([old], *signed(server, "tesk-listener", user="bob"))
    assert believed(listener.listener.keys, *signed(server, "tesk-listener", user="bob"))
    assert listener.listener.keys[0] == old
    assert listener.listener.quiet_seconds == 9
    assert [caller_of(server, name * 24).name for name in "ab"] == ["a", "b"]
    for kind, name in objects:
        assert kind == "Secret" or old not in json.dumps(objects[kind, name])


def test_a_listener_knows_nothing_of_what_the_server_knows(tmp_path):
    settings = {"storage": {"s3": [{"bucket": "x", "secret_access_key": "hidden-word"}]}, "log": {"level": "debug"}}
    objects = made(*ON, "--set-json", f"settings={json.dumps(settings)}")
    server, listener = both(objects, tmp_path)
    assert server.storage.s3[0].secret_access_key == "hidden-word"
    assert not listener.storage.s3
    assert listener.log.level == "debug"
    spec = objects["Deployment", "tesk-listener"]["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in spec
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert {"startupProbe", "livenessProbe", "readinessProbe", "resources"} <= set(container)


def test_its_secrets_may_be_those_of_somebody_else(tmp_path):
    ours = {
        "token": "t" * 24,
        "key": "whsec_" + base64.b64encode(b"k" * 32).decode(),
        "server-token": "s" * 24,
        "server-token-hash": hash_secret("s" * 24, "token"),
    }
    objects = made(*ON, "--set", "listener.existingSecret=vault")
    assert ("Secret", "tesk-listener") not in objects
    server, listener = both(objects, tmp_path, vault=ours)
    assert believed([ours["key"]], *signed(server, "tesk-listener"))
    assert listener.listener.token == ours["token"]
    assert caller_of(server, listener.listener.server_token).name == "listener"


def test_without_authentication_nobody_needs_a_token_to_ask_the_server(tmp_path):
    server, listener = both(made(*ON, "--set", "auth.enabled=false"), tmp_path)
    assert not server.auth.required
    assert listener.listener.server_token == ""
    assert listener.listener.token, "but the listener lets in whoever has its token alone"


def test_another_server_is_not_shown_the_token_of_ours(tmp_path):
    _, listener = both(made(*ON, "--set", "settings.listener.server=https://tes.example.org"), tmp_path)
    assert listener.listener.server == "https://tes.example.org"
    assert listener.listener.server_token == ""


@pytest.mark.parametrize(
    ("arguments", "source", "kept"),
    [
        ([], None, "claim"),
        (["--set", "listener.persistence.enabled=false"], None, "pod"),
        (["--set", "database.existingSecret=db"], {"name": "db", "key": "url"}, "pod"),
        (["--set", "database.url=postgresql://db/x"], {"name": "tesk-config", "key": "database-url"}, "pod"),
        (
            [
                "--set",
                "database.existingSecret=db,listener.database.existingSecret=own,listener.database.existingSecretKey=k",
            ],
            {"name": "own", "key": "k"},
            "pod",
        ),
        (
            ["--set", "listener.database.url=postgresql://db/hidden-word"],
            {"name": "tesk-listener-config", "key": "database-url"},
            "pod",
        ),
    ],
)
def test_it_keeps_what_it_hears_in_its_database_in_the_servers_or_on_a_volume(arguments, source, kept):
    objects = made(*ON, *arguments)
    deployment = objects["Deployment", "tesk-listener"]["spec"]
    spec = deployment["template"]["spec"]
    [container] = spec["containers"]
    sources = {each["name"]: each.get("valueFrom", {}).get("secretKeyRef") for each in container["env"]}
    assert sources.get("TESK_LISTENER_DATABASE") == source
    assert ("PersistentVolumeClaim", "tesk-listener") in objects if kept == "claim" else True
    volume = next(each for each in spec["volumes"] if each["name"] == "data")
    assert ("persistentVolumeClaim" in volume) == (kept == "claim")
    assert [each["name"] for each in spec.get("initContainers", [])] == ["hand-over"] * (kept == "claim")
    assert (deployment.get("strategy") == {"type": "Recreate"}) == (source is None)
    for (kind, _), each in objects.items():
        assert kind == "Secret" or "hidden-word" not in json.dumps(each)


def test_wrong_values_are_named_all_at_once():
    values = {
        "replica": 2,
        "database": {"url": "mysql://x"},
        "service": {"port": 0},
        "resources": {"limits": {"memory": "lots"}},
    }
    wrong = ["--set-json", f"listener={json.dumps(values)}", "--set", "settings.listener.prot=1"]
    said = helm("template", "tesk", str(CHART), *wrong).stderr
    for each in (
        "'/listener': additional properties 'replica' not allowed",
        "'/listener/database/url': 'mysql://x' does not match pattern",
        "'/listener/service/port': minimum",
        "'/listener/resources/limits/memory': 'lots' does not match",
        "additional properties 'prot' not allowed",
    ):
        assert each in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("listener.replicas=2", "more than one listener needs PostgreSQL"),
        ("listener.database.url=postgres://x,listener.database.existingSecret=y", "are both given"),
        ("listener.ingress.enabled=true", "name the host"),
        ("settings.callbacks.enabled=false", "nobody would tell the listener"),
        ("settings.listener.database=x.db", "give listener.database"),
        ("settings.listener.token=some", "give listener.existingSecret"),
        ("secretSettings.auth\\.tokens.secret=x,secretSettings.auth\\.tokens.key=y", "give settings.auth.tokens"),
    ],
)
def test_what_cannot_go_together_is_refused_with_words(values, said):
    done = helm("template", "tesk", str(CHART), *ON, "--set", values)
    assert done.returncode != 0
    assert said in done.stderr


def test_several_are_reached_as_one_and_not_all_are_moved_at_once():
    objects = made(
        *ON, *POSTGRES, "--set", "listener.replicas=2,listener.ingress.enabled=true,listener.ingress.hosts={told.example.org}",
        "--set-json", 'networkPolicy.from=[{"podSelector": {}}]', "--set-json", 'listener.networkPolicy.from=[{"podSelector": {}}]',
        "--set", "monitoring.serviceMonitor.enabled=true",
    )  # fmt: skip
    deployment = objects["Deployment", "tesk-listener"]["spec"]
    assert deployment["replicas"] == 2
    labels = deployment["template"]["metadata"]["labels"]
    wanted = deployment["selector"]["matchLabels"]
    assert wanted.items() <= labels.items()
    assert objects["Service", "tesk-listener"]["spec"]["selector"] == wanted
    assert objects["PodDisruptionBudget", "tesk-listener"]["spec"]["selector"]["matchLabels"] == wanted
    [spread] = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == wanted
    assert not objects["Service", "tesk"]["spec"]["selector"].items() <= labels.items()
    [rule] = objects["Ingress", "tesk-listener"]["spec"]["rules"]
    assert rule["host"] == "told.example.org"
    policies = {name: each["spec"] for (kind, name), each in objects.items() if kind == "NetworkPolicy"}
    assert policies["tesk-listener"]["podSelector"]["matchLabels"] == wanted
    [_, server] = policies["tesk-listener"]["ingress"][0]["from"]
    assert server["podSelector"]["matchExpressions"][0]["values"] == ["server", "controller", "test"]
    [_, ours] = policies["tesk"]["ingress"][0]["from"]
    assert ours["podSelector"]["matchExpressions"][0]["values"] == ["listener", "test"]


def test_who_changes_a_setting_of_the_listener_does_not_stop_the_server():
    quick, slow = (made(*ON, "--set", f"settings.listener.quiet_seconds={seconds}") for seconds in (60, 600))
    for name, same in (("tesk", True), ("tesk-listener", False)):
        first, second = (each["Deployment", name]["spec"]["template"] for each in (quick, slow))
        assert (first == second) is same
