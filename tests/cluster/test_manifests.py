"""Every manifest that we make is one that a real API server takes, in namespaces with rules as well. Nothing runs."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from itertools import product

import pytest
from msgspec.structs import replace

from fakes.manifests import ATTEMPT, SETTINGS, containers, executors, plan_of, pod_of
from tesk.compute.kubernetes.layout import Layout
from tesk.compute.kubernetes.manifests import job_manifest
from tesk.compute.kubernetes.secret import secret_manifest
from tesk.compute.kubernetes.template import Document
from tesk.settings import KubernetesSettings, ParameterRule, StorageSettings
from tesk.tes.task import Executor, FileType, Input, Output, Resources, Task

pytestmark = [
    pytest.mark.skipif(not os.environ.get("KUBECONFIG"), reason="KUBECONFIG names no cluster"),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl"),
]

LAYOUTS = [
    Layout(image_volume=volume, image_subpath=volume and subpath, pod_resources=resources)
    for volume, subpath, resources in product((False, True), repeat=3)
    if volume or not subpath
]
LEVELS = ("baseline", "restricted")
Take = Callable[[str, list[Document]], list[Document]]


def kubectl(*words: str, stdin: str | None = None) -> str:
    done = subprocess.run(["kubectl", *words], input=stdin, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def namespaces() -> Iterator[dict[str, str]]:
    """A namespace for each level of Pod Security, by level."""
    made = {level: f"tesk-test-{level}-{uuid.uuid4().hex[:8]}" for level in LEVELS}
    for level, name in made.items():
        kubectl("create", "namespace", name)
        kubectl("label", "namespace", name, f"pod-security.kubernetes.io/enforce={level}")
    yield made
    kubectl("delete", "namespace", "--wait=false", *made.values())


@pytest.fixture
def taken(namespaces: dict[str, str]) -> Take:
    """Have the API server take objects, and return them as it would store them."""

    def take(level: str, objects: list[Document]) -> list[Document]:
        moved = [{**each, "metadata": {**each["metadata"], "namespace": namespaces[level]}} for each in objects]
        whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": moved})
        said = kubectl("create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-", stdin=whole)
        found = [*documents(said)]
        assert len(found) == len(objects)
        return found

    return take


def documents(text: str) -> Iterator[Document]:
    """Take apart what kubectl says of several objects: one after the other, without a list around them."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text.rstrip()):
        document, end = decoder.raw_decode(text[at:])
        at += end + 1
        yield document


def tasks() -> Iterator[tuple[Task, int]]:
    """Tasks of all kinds, and how much disk each wants."""
    yield Task(executors=executors(3)), 0
    yield Task(executors=executors(2)), 10 * 10**9
    yield Task(executors=executors()), 200 * 10**9
    files = (Input(path="/etc/a b:c", content="x", type=FileType.FILE), Input(path="/data/ü$(X)/y", content=""))
    results = (Output(path="/opt/it", url="s3://bucket/it", type=FileType.FILE),)
    steps = tuple(Executor(image="a", command=("x",), workdir=f"/w{n}", stdout="/tmp/out") for n in range(2))
    yield Task(executors=steps, inputs=files, outputs=results, volumes=("/a,b=c", "/d/e/f")), 0


@pytest.mark.parametrize("level", LEVELS)
def test_every_layout_is_taken_at_every_level_of_pod_security(level: str, taken: Take) -> None:
    settings = replace(SETTINGS, security=level, identity_audience="x", identity_role="arn:y", pull_secrets=("a",))
    pods = [
        pod_of(plan_of(task, disk=disk, cores=0.5), settings, layout) for layout in LAYOUTS for task, disk in tasks()
    ]
    for sent, stored in zip(pods, taken(level, pods), strict=True):
        assert list(containers(stored)) == list(containers(sent))


def test_a_cluster_takes_nothing_of_what_protects_the_task(taken: Take) -> None:
    (stored,) = taken("baseline", [pod_of(layout=Layout(image_volume=True, image_subpath=True, pod_resources=True))])
    spec = stored["spec"]
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    assert stored["metadata"]["finalizers"] == ["tesk/result"]
    tolerations = [each for each in spec["tolerations"] if each["effect"] == "NoExecute"]
    assert {each["tolerationSeconds"] for each in tolerations} == {300}


@pytest.mark.parametrize("level", LEVELS)
def test_secret_and_job_are_taken(level: str, taken: Take) -> None:
    plan = plan_of()
    secret = secret_manifest(ATTEMPT, plan, str(uuid.uuid4()), StorageSettings(), server_id="here")
    jobs = [job_manifest(pod_of(plan, replace(SETTINGS, security=level), layout), "queue") for layout in LAYOUTS]
    stored = taken(level, [secret, *jobs])
    assert stored[0]["immutable"] is True
    assert all(job["spec"]["suspend"] for job in stored[1:])


def test_what_parameters_and_a_template_do_is_taken(taken: Take) -> None:
    rules = (
        ParameterRule(name="runtime", patch={"spec": {"nodeSelector": {"runtime": "$value"}}}),
        ParameterRule(name="gid", patch={"spec": {"securityContext": {"fsGroup": "$number"}}}),
        ParameterRule(name="volume", patch={"storage_class": "standard", "volume_gb": "$value"}),
    )
    settings = replace(
        SETTINGS,
        parameters=rules,
        gpu_resource="example.org/gpu",
        preemptible={"spec": {"tolerations": [{"key": "spot", "operator": "Exists"}]}},
    )
    asked = {"runtime": "x", "gid": "17", "volume": "3.5", "gpu_count": "2", "gpu_executor": "1"}
    resources = Resources(preemptible=True, zones=("a", "b"), backend_parameters=asked)
    template = """
    metadata: {labels: {team: data}}
    spec:
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
      containers:
      - {name: executor, env: [{name: http_proxy, value: "http://proxy"}], volumeMounts: [{name: ref, mountPath: /ref}]}
      volumes:
      - {name: ref, emptyDir: {}}
    """
    plan = plan_of(Task(executors=executors(2), resources=resources))
    pods = [pod_of(plan, settings, layout, template=template) for layout in LAYOUTS]
    for stored in taken("baseline", pods):
        assert {each["key"] for each in stored["spec"]["tolerations"]} >= {"spot", "node.kubernetes.io/not-ready"}
        assert stored["spec"]["securityContext"]["fsGroup"] == 17


# -- trap 20: namespaces with rules -----------------------------------------------------------------------------------------

LIMIT_RANGE = """
apiVersion: v1
kind: LimitRange
metadata: {name: rules}
spec:
  limits:
  - type: Container
    default: {cpu: 100m, memory: 64Mi}
    defaultRequest: {cpu: 100m, memory: 64Mi}
    min: {cpu: 10m, memory: 16Mi}
    max: {cpu: "4", memory: 8Gi}
"""
QUOTA = """
apiVersion: v1
kind: ResourceQuota
metadata: {name: rules}
spec:
  hard: {requests.cpu: "4", requests.memory: 8Gi, requests.ephemeral-storage: 1Gi, limits.cpu: "20", limits.memory: 40Gi, pods: "10"}
"""


@pytest.fixture
def ruled(namespaces: dict[str, str]) -> Iterator[None]:
    where = ("--namespace", namespaces["baseline"])
    kubectl("create", *where, "-f", "-", stdin=LIMIT_RANGE)
    kubectl("create", *where, "-f", "-", stdin=QUOTA)
    yield
    kubectl("delete", *where, "limitrange/rules", "resourcequota/rules")


@pytest.mark.usefixtures("ruled")
def test_trap_20_limit_ranges_and_quotas_take_our_pods_as_they_are(taken: Take) -> None:
    settings: KubernetesSettings = replace(SETTINGS, least_cpu_cores=0.01, least_ram_gb=0.02)
    plans = [plan_of(task, cores=2, ram=3 * 10**9) for task, disk in tasks() if disk == 0]
    pods = [pod_of(plan, settings, layout) for plan in plans for layout in LAYOUTS]
    for sent, stored in zip(pods, taken("baseline", pods), strict=True):
        for name, container in containers(sent).items():
            assert containers(stored)[name]["resources"]["limits"].keys() == container["resources"]["limits"].keys()
