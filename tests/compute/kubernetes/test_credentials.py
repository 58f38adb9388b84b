"""Who we are to a cluster: files merged as kubectl does, programs that are asked, and what rotates."""

import asyncio
import base64
import json
import os
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from fakes.authority import authority
from fakes.kubernetes_api import KubernetesApi
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.credentials import Access, find
from tesk.compute.kubernetes.kubeconfig import Cluster, User
from tesk.compute.kubernetes.objects import Pod, path_of
from tesk.compute.kubernetes.refusals import Unauthorized
from tesk.errors import BackendUnavailable, StartError

PODS = path_of("pods", "ns")


class Clock:
    """Monotonic, when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def config(tmp_path, name="config", *, server="https://here:6443", user=None, cluster=None, **fields):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    whole = {
        "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ns"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(whole | fields))
    return path


def shown(access, refused=None):
    return asyncio.run(access.proof(refused))


def test_a_kubeconfig_says_where_and_who(tmp_path):
    path = config(tmp_path, server="http://here:8080/", user={"token": "t", "as": "jane", "as-groups": ["a", "b"]})
    access = find(str(path), environment={})
    assert (access.server, access.namespace, access.inside) == ("http://here:8080", "ns", False)
    assert shown(access).token == "t"
    assert access.headers == (("Impersonate-User", "jane"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"))
    assert "token" not in repr(access)


def test_of_several_files_the_first_to_say_something_wins(tmp_path):
    first = config(
        tmp_path,
        "first",
        **{"current-context": None, "contexts": [], "users": [{"name": "u", "user": {"token": "first"}}]},
        server="http://first:1",
    )
    second = config(tmp_path, "second", server="http://second:2", user={"tokenFile": "nowhere"})
    environment = {"KUBECONFIG": f"{tmp_path}/missing:{first}::{second}"}
    access = find(environment=environment)
    assert access.server == "http://first:1"
    assert shown(access).token == "first", "an entry of a name is taken whole"


def test_a_context_can_be_named(tmp_path):
    contexts = [{"name": name, "context": {"cluster": "c", "user": "u", "namespace": name}} for name in ("x", "y")]
    path = str(config(tmp_path, contexts=contexts))
    assert find(path, "y", environment={}).namespace == "y"
    with pytest.raises(StartError, match=r"no context 'z' \(there are: x, y\)"):
        find(path, "z", environment={})


def test_paths_are_relative_to_the_file_that_they_stand_in(tmp_path):
    path = config(tmp_path, "folder/config", server="http://here:1", user={"tokenFile": "../token"})
    (tmp_path / "token").write_text("from the file\n")
    assert shown(find(str(path), environment={})).token == "from the file"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"current-context": ""}, "no context of the kubeconfig is current"),
        ({"clusters": []}, "names the cluster 'c', of which the kubeconfig says no server"),
        ({"users": []}, "names the user 'u', whom the kubeconfig does not have"),
        ({"user": {"username": "a", "password": "p"}}, "user name and password"),
        ({"user": {"auth-provider": {"name": "gcp"}}}, "use an exec plugin"),
        ({"user": {"exec": {"command": "p", "apiVersion": "client.authentication.k8s.io/v1alpha1"}}}, "are known"),
        ({"user": {"exec": {"command": "p", "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Always"}}}, "here is none"),
        ({"server": "here:6443"}, "no address of an API server"),
        ({"cluster": {"proxy-url": "socks5://here:1"}}, "a proxy by socks5:// cannot be used"),
        ({"clusters": 7}, "is no kubeconfig: Expected"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_at_the_start(tmp_path, fields, sentence):
    with pytest.raises(StartError, match=sentence):
        find(str(config(tmp_path, **fields)), environment={})


def test_a_file_that_is_not_yaml_is_not_quoted(tmp_path):
    path = tmp_path / "config"
    path.write_text("users: [{token: s3cret")
    with pytest.raises(StartError, match="it is not YAML") as caught:
        find(str(path), environment={})
    assert "s3cret" not in str(caught.value)


def test_where_there_is_nothing_a_sentence_says_what_helps(tmp_path):
    with pytest.raises(StartError, match="set KUBECONFIG"):
        find(environment={"HOME": str(tmp_path)}, account=tmp_path)
    with pytest.raises(StartError, match="there is no kubeconfig at /nowhere/config"):
        find(environment={"KUBECONFIG": "/nowhere/config"})


def in_pod(tmp_path, clock):
    (tmp_path / "token").write_text("one")
    (tmp_path / "namespace").write_text("here")
    (tmp_path / "ca.crt").write_text(authority(tmp_path)[0].read_text())
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443", "HOME": str(tmp_path)}
    return find(environment=environment, account=tmp_path, clock=clock)


def test_in_a_pod_the_service_account_is_who_we_are(tmp_path):
    access = in_pod(tmp_path, Clock())
    assert (access.server, access.namespace, access.inside) == ("https://[fd00::1]:443", "here", True)
    assert shown(access).context.verify_mode is ssl.CERT_REQUIRED


def test_a_token_that_rotates_is_read_again_within_a_minute_or_when_it_was_refused(tmp_path):
    clock = Clock()
    access = in_pod(tmp_path, clock)
    first = shown(access)
    (tmp_path / "token").write_text("two")
    assert shown(access) is first, "not for each request"
    clock.now += 61
    second = shown(access)
    assert (first.token, second.token) == ("one", "two")
    assert second.context is first.context, "connections are kept"
    (tmp_path / "token").write_text("three")
    assert shown(access, second).token == "three"
    third = shown(access)
    assert shown(access, third) is third, "nothing newer is there"


def test_what_cannot_be_read_for_a_moment_is_what_it_was(tmp_path, caplog):
    clock = Clock()
    access = in_pod(tmp_path, clock)
    first = shown(access)
    (tmp_path / "token").unlink()
    clock.now += 61
    assert shown(access) is first
    assert "No such file" in caplog.text
    with pytest.raises(BackendUnavailable, match=r"the token .* cannot be read: No such file"):
        shown(access, first)


PLUGIN = """
import json, os, sys
calls = open(sys.argv[1], "a"); calls.write(os.environ["KUBERNETES_EXEC_INFO"] + "\\n"); calls.close()
status = json.loads(os.environ["STATUS"])
number = sum(1 for _ in open(sys.argv[1]))
if "token" in status: status["token"] += str(number)
print(json.dumps({"apiVersion": os.environ.get("SAYS", "client.authentication.k8s.io/v1"), "kind": "ExecCredential", "status": status}))
sys.stderr.write("gone wrong\\n")
sys.exit(int(os.environ.get("CODE", "0")))
"""


def plugin(tmp_path, status, *, server="http://here:1", clock=time.monotonic, **env):
    (tmp_path / "plugin.py").write_text(PLUGIN)
    named = [{"name": name, "value": value} for name, value in {"STATUS": json.dumps(status), **env}.items()]
    asked = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(tmp_path / "plugin.py"), str(tmp_path / "calls")],
        "env": named,
        "provideClusterInfo": True,
        "interactiveMode": "IfAvailable",
    }
    return find(str(config(tmp_path, server=server, user={"exec": asked})), environment=dict(os.environ), clock=clock)


def calls(tmp_path):
    return [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


def stamp(seconds):
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()


def test_a_program_is_asked_once_for_as_long_as_its_answer_is_good(tmp_path):
    access = plugin(tmp_path, {"token": "t", "expirationTimestamp": stamp(3600)})
    assert [shown(access).token for _ in range(3)] == ["t1"] * 3
    (told,) = calls(tmp_path)
    assert told["spec"] == {"interactive": False, "cluster": {"server": "http://here:1"}}


def test_a_program_is_asked_again_before_the_end_of_what_it_gave_and_when_that_was_refused(tmp_path):
    clock = Clock()
    access = plugin(tmp_path, {"token": "t", "expirationTimestamp": stamp(600)}, clock=clock)
    first = shown(access)
    assert shown(access, first).token == "t2"
    clock.now += 500
    assert shown(access).token == "t2"
    clock.now += 50
    assert shown(access).token == "t3"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"CODE": "3"}, "ended with 3: gone wrong"),
        ({"SAYS": "client.authentication.k8s.io/v1beta1"}, "was asked for .*/v1 and wrote .*/v1beta1"),
        ({"STATUS": "{}"}, "neither a token nor a certificate"),
        ({"STATUS": "no"}, "ended with 1"),
    ],
)
def test_a_program_that_fails_is_told_of_without_what_it_gave(tmp_path, given, sentence):
    access = plugin(tmp_path, {"token": "s3cret"}, **given)
    with pytest.raises(BackendUnavailable, match=sentence) as caught:
        shown(access)
    assert "s3cret" not in str(caught.value)


def test_a_program_that_is_not_there_comes_with_its_hint(tmp_path):
    user = {"exec": {"command": "./nowhere", "apiVersion": "client.authentication.k8s.io/v1", "installHint": "Get it."}}
    with pytest.raises(BackendUnavailable, match=rf"{tmp_path}/nowhere .*No such file or directory \(Get it\.\)"):
        shown(find(str(config(tmp_path, user=user)), environment={}))


def test_a_token_that_the_server_no_longer_knows_is_renewed_and_the_question_asked_again(tmp_path):
    async def body():
        async with KubernetesApi().serving() as server:
            server.put("pods", "ns", "a")
            server.token = "t2"
            async with Api(plugin(tmp_path, {"token": "t"}, server=server.url)) as api:
                assert (await api.get(f"{PODS}/a", Pod)).metadata.name == "a"
                await api.get(f"{PODS}/a", Pod)
                assert len(calls(tmp_path)) == 2
                server.token = "never"
                for _ in range(5):
                    with pytest.raises(Unauthorized):
                        await api.get(f"{PODS}/a", Pod)
                assert len(calls(tmp_path)) == 2, "not for each question"

    asyncio.run(body())


def test_a_certificate_is_shown_and_one_that_rotates_is_loaded_again(tmp_path):
    certificate, key, client, client_key = authority(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client))
    tls.load_cert_chain(certificate, key)
    tls.verify_mode = ssl.CERT_OPTIONAL
    clock = Clock()

    async def body():
        async with KubernetesApi(tls=tls).serving() as server:
            server.put("pods", "ns", "a")
            cluster = Cluster(server=server.url, certificate_authority=str(certificate), tls_server_name="cluster.test")
            user = User(client_certificate=str(client), client_key=str(client_key))
            async with Api(Access(cluster, user, "ns", environment={}, clock=clock)) as api:
                await api.get(f"{PODS}/a", Pod)
                first = server.client["serialNumber"]
                _again(tmp_path, client, client_key)
                tls.load_verify_locations(str(client))
                await api.get(f"{PODS}/a", Pod)
                assert server.client["serialNumber"] == first
                clock.now += 61
                await api.get(f"{PODS}/a", Pod)
                assert server.client["serialNumber"] != first
            stranger = Cluster(server=server.url, certificate_authority=str(certificate))
            async with Api(Access(stranger, user, "ns", environment={})) as api:
                with pytest.raises(BackendUnavailable, match="its certificate is not good"):
                    await api.get(f"{PODS}/a", Pod)
            blind = Cluster(server=server.url, insecure_skip_tls_verify=True)
            async with Api(Access(blind, User(), "ns", environment={})) as api:
                assert (await api.get(f"{PODS}/a", Pod)).metadata.name == "a"
                assert not server.client

    asyncio.run(body())


def _again(folder, *paths):
    for path in paths:
        path.unlink()
    authority(folder)


def test_certificates_may_stand_in_the_kubeconfig_itself(tmp_path):
    _, _, client, client_key = authority(tmp_path)
    data = {"client-certificate-data": client, "client-key-data": client_key}
    user = {name: base64.b64encode(path.read_bytes()).decode() for name, path in data.items()}
    assert shown(find(str(config(tmp_path, user=user)), environment={})).context is not None
    user["client-key-data"] = user["client-certificate-data"]
    with pytest.raises(BackendUnavailable, match="do not go together"):
        shown(find(str(config(tmp_path, user=user)), environment={}))
    user["client-key-data"] = "no base64!"
    with pytest.raises(BackendUnavailable, match="client-key-data of the kubeconfig is not base64"):
        shown(find(str(config(tmp_path, user=user)), environment={}))


def test_the_package_that_the_backend_wants_is_loaded_with_it_only_and_named_where_it_is_missing():
    lines = [
        "import sys, importlib",
        "import tesk.service, tesk.cli.main",
        "assert 'aiohttp' not in sys.modules",
        "sys.modules['aiohttp'] = None",
        "importlib.import_module('tesk.compute.kubernetes.api')",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        "StartError: Kubernetes wants one package more: pip install 'tesk[kubernetes]'"
    )
