"""`tesk doctor --kubernetes` says in a line each what in a real cluster would keep tasks from running."""

import base64
import contextlib
import json
import subprocess

import pytest
from msgspec import Struct

from cluster.attempts import BUSYBOX, STAGER
from cluster.conftest import BOUND_SECONDS
from fakes.left_in_cluster import assert_nothing_is_left
from fakes.typed import Typed
from tesk.compute.kubernetes.credentials import find
from tesk.compute.kubernetes.objects import Bare, path_of
from tesk.compute.kubernetes.refusals import NotFound
from tesk.compute.kubernetes.rights import ALWAYS, role_rules


class _Token(Struct):
    token: str = ""


class _Answer(Struct):
    status: _Token


def named(name, kind, spec=None, group="v1", **more):
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, **({"spec": spec} if spec else {}), **more}


@pytest.fixture
def made(cluster):
    """Make objects in the namespace, for the time of a test."""
    paths = []

    def make(resource, document, group="v1"):
        path = cluster.path(resource, group=group)
        cluster.run(lambda api: created(api, path, document))
        paths.append(f"{path}/{document['metadata']['name']}")

    yield make

    async def remove(api):
        for path in reversed(paths):
            with contextlib.suppress(NotFound):
                await api.delete(path)

    cluster.run(remove)


async def created(api, path, document):
    await api.create(path, document, Bare)


@pytest.fixture
def doctor(cluster, tmp_path):
    """Run the doctor as `account`, or as whoever KUBECONFIG names; give its lines without the level, and the exit code."""

    def run(*words, account="", **more):
        variables = {"TESK_KUBERNETES_NAMESPACE": cluster.namespace, "TESK_DEFAULTS_IMAGE": BUSYBOX}
        variables |= {"TESK_KUBERNETES_STAGER_IMAGE": STAGER, "TESK_DATA_DIR": str(tmp_path / "data")}
        if account:
            variables["KUBECONFIG"] = str(kubeconfig(cluster, account, tmp_path / "kubeconfig"))
        typed = Typed(tmp_path)
        typed.variables |= variables | more
        process = typed.start("doctor", "--kubernetes", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        text, troubles = process.communicate(timeout=BOUND_SECONDS)  # a pod may be in it
        assert troubles == ""
        return Lines(process.returncode, text)

    return run


class Lines:
    """What a doctor said. `of` gives the lines of a subject; `help_of` what is to be tried for it."""

    def __init__(self, code, text):
        self.code = code
        self.text = text
        self._lines = text.splitlines()

    def of(self, subject):
        return [line for line in self._lines if line[5:].startswith(f"{subject}: ")]

    def help_of(self, subject):
        following = zip(self._lines, self._lines[1:], strict=False)
        return [
            line.strip() for before, line in following if before[5:].startswith(f"{subject}: ") and line[:5] == " " * 5
        ]


def kubeconfig(cluster, account, file):
    """Write the kubeconfig of a service account."""
    access, tokens = find(), []

    async def ask(api):
        path = cluster.path("serviceaccounts", account, part="token")
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
        tokens.append((await api.create(path, review, _Answer)).status.token)

    cluster.run(ask)
    authority = access._authority()
    server = {"server": access.server}
    if authority:
        server["certificate-authority-data"] = base64.b64encode(authority).decode()
    document = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it", "namespace": "default"}}],
        "clusters": [{"name": "it", "cluster": server}],
        "users": [{"name": "it", "user": {"token": tokens[0]}}],
    }
    file.write_text(json.dumps(document))
    return file


def account_with(made, cluster, name, rules):
    made("serviceaccounts", named(name, "ServiceAccount"))
    group = "rbac.authorization.k8s.io/v1"
    made("roles", named(name, "Role", group=group, rules=[*role_rules(tuple(rules))]), group)
    subject = {"kind": "ServiceAccount", "name": name, "namespace": cluster.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    made("rolebindings", named(name, "RoleBinding", group=group, roleRef=role, subjects=[subject]), group)


def test_who_has_the_rights_of_the_role_and_no_other_hears_of_no_failure(doctor, made, cluster):
    account_with(made, cluster, "server", ALWAYS)
    said = doctor(account="server")
    assert said.code == 0, said.text
    assert said.of("cluster")[0].endswith(f", to which this is system:serviceaccount:{cluster.namespace}:server")
    assert said.of("rights") == [f"ok   rights: in {cluster.namespace}: all {len(ALWAYS)} that are used"]
    assert "may not be listed by this account" in said.of("network")[0]
    assert said.of("pod") == ["ok   pod: none was run, so no image was pulled"]


def test_trap_12_each_right_that_is_missing_is_named_in_one_line(doctor, made, cluster):
    account_with(made, cluster, "less", [rule for rule in ALWAYS if str(rule) not in ("watch pods", "get pods/log")])
    said = doctor(account="less")
    assert said.code == 1
    assert said.of("rights") == [f"fail rights: in {cluster.namespace} these are missing: watch pods, get pods/log"]
    assert "rbac.create" in said.help_of("rights")[0]


def test_a_namespace_that_there_is_not_comes_with_the_command_that_makes_it(doctor):
    said = doctor(TESK_KUBERNETES_NAMESPACE="nosuch")
    assert said.code == 1
    assert said.of("namespace") == ["fail namespace: there is no namespace nosuch"]
    assert said.help_of("namespace") == ["try: kubectl create namespace nosuch"]


def test_trap_20_a_level_that_forbids_our_pods_comes_with_the_setting_that_helps(doctor, cluster):
    async def level(api, value):
        patch = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": value}}}
        await api.patch(path_of("namespaces", name=cluster.namespace), patch, Bare)

    cluster.run(lambda api: level(api, "restricted"))
    try:
        refused = doctor()
        taken = doctor(TESK_KUBERNETES_SECURITY="restricted")
    finally:
        cluster.run(lambda api: level(api, None))
    assert (refused.code, taken.code) == (1, 0), refused.text + taken.text
    assert "allows no such pod (kubernetes.security is baseline)" in refused.of("security")[0]
    assert refused.of("limits") == []
    assert refused.help_of("security") == ["try: TESK_KUBERNETES_SECURITY=restricted tesk doctor --kubernetes"]
    assert "enforces restricted and takes pods of kubernetes.security = restricted" in taken.of("security")[0]


def test_trap_20_limits_of_the_namespace_that_would_bite_are_said(doctor, made, cluster):
    made("limitranges", named("least", "LimitRange", {"limits": [{"type": "Container", "min": {"memory": "64Mi"}}]}))
    said = doctor()
    assert said.code == 1
    assert "minimum memory usage per Container is 64Mi" in said.of("limits")[0]
    assert said.help_of("limits") == ["try: kubernetes.least_cpu_cores, kubernetes.least_ram_gb"]
    assert doctor(TESK_KUBERNETES_LEAST_RAM_GB="0.07").of("limits")[0].startswith("ok ")


def test_trap_12_a_quota_that_is_used_up_is_a_warning(doctor, made, cluster):
    made("resourcequotas", named("none", "ResourceQuota", {"hard": {"pods": "0"}}))

    def counted():
        said = doctor()
        return said if "exceeded quota" in said.text else None

    said = next(filter(None, (counted() for _ in range(20))))  # a quota counts when its controller has seen it
    assert said.code == 0
    assert said.of("limits")[0].startswith(f"warn limits: {cluster.namespace}: ")
    assert said.help_of("limits") == [f"try: kubectl --namespace {cluster.namespace} describe quota"]


def test_a_storage_class_and_a_queue_that_there_are_not_are_named(doctor):
    rules = [{"name": "volume", "values": ["gone", "any-*"], "patch": {"storage_class": "$value"}}]
    said = doctor(
        TESK_KUBERNETES_STORAGE_CLASS="nosuch",
        TESK_KUBERNETES_QUEUE="batch",
        TESK_KUBERNETES_PARAMETERS=json.dumps(rules),
    )
    assert said.code == 1
    assert [line.partition(";")[0] for line in said.of("storage")] == [
        "fail storage: there is no storage class nosuch",
        "fail storage: there is no storage class gone",
    ]
    assert said.of("kueue") == [
        "fail kueue: a queue is set and the cluster has no Kueue: tasks would never be admitted"
    ]


def test_trap_19_a_pod_is_tried_and_what_it_reaches_is_said(doctor, made, cluster):
    open_ = doctor("--try")
    assert open_.of("pod")[-1].startswith("ok   pod: a task of two executors took "), open_.text
    assert any("reaches kubernetes.default.svc" in line for line in open_.of("network"))
    server = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    dns = {"to": [server], "ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}
    spec = {
        "podSelector": {"matchLabels": {"app.kubernetes.io/managed-by": "tesk"}},
        "policyTypes": ["Ingress", "Egress"],
        "egress": [dns],
    }
    group = "networking.k8s.io/v1"
    made("networkpolicies", named("tasks", "NetworkPolicy", spec, group=group), group)
    closed = doctor("--try")
    assert closed.of("network") == [
        f"ok   network: {cluster.namespace} has a policy for what pods of tasks reach",
        "ok   network: a pod of a task reaches neither the API server nor a cloud's metadata",
    ], closed.text
    cluster.run(lambda api: assert_nothing_is_left(api, cluster.namespace, seconds=20))


def test_trap_2_an_image_that_no_node_can_have_comes_with_what_helps(doctor, cluster):
    said = doctor("--try", TESK_DEFAULTS_IMAGE="tesk.test/nosuch:1", TESK_KUBERNETES_IMAGE_WAIT_SECONDS="0")
    assert said.code == 1
    assert "executors[0]: image tesk.test/nosuch:1: ErrImagePull" in said.of("pod")[-1], said.text
    assert said.help_of("pod")[-1].startswith("try: TESK_DEFAULTS_IMAGE=IMAGE tesk doctor --kubernetes --try")
    cluster.run(lambda api: assert_nothing_is_left(api, cluster.namespace, seconds=20))


def test_without_a_cluster_it_says_where_one_could_be_named(tmp_path):
    done = Typed(tmp_path)("doctor", "--kubernetes", KUBECONFIG="")
    said = Lines(done.returncode, done.stdout)
    assert said.code == 1
    assert "no cluster is known" in said.of("cluster")[0]
