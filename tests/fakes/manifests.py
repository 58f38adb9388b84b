"""A task in a few words, its plan, and the pod that is made of it."""

from tesk.compute.backend import AttemptId
from tesk.compute.kubernetes.layout import Layout
from tesk.compute.kubernetes.manifests import pod_manifest
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.template import Document
from tesk.compute.plan import Plan, make_plan
from tesk.settings import KubernetesSettings
from tesk.tes.task import Executor, Extension, Task

ATTEMPT = AttemptId("01arz3ndektsv4rrffq69g5fav", 2)
PLAIN = Layout()
SETTINGS = KubernetesSettings(server_id="here", namespace="tasks", stager_image="tesk/stager:1")


def executors(count: int = 1, **more: object) -> tuple[Executor, ...]:
    return tuple(Executor(image=f"image-{index}", command=("true",), **more) for index in range(count))


def plan_of(
    task: Task | None = None, *, owner: str = "alice", cores: float = 1.0, ram: int = 10**9, disk: int = 0
) -> Plan:
    return make_plan(
        task or Task(executors=executors()),
        task_id=ATTEMPT.task_id,
        owner=owner,
        extension=Extension(),
        cpu_cores=cores,
        ram_bytes=ram,
        disk_bytes=disk,
        tail_bytes=65536,
    )


def pod_of(
    plan: Plan | None = None,
    settings: KubernetesSettings = SETTINGS,
    layout: Layout = PLAIN,
    *,
    template: str = "",
    images: dict[int, str] | None = None,
) -> Document:
    plan = plan or plan_of()
    return pod_manifest(ATTEMPT, plan, settings, layout, Policy(settings, template).asked(plan), images=images)


def containers(pod: Document) -> dict[str, Document]:
    """All containers by name, the init containers among them."""
    spec = pod["spec"]
    return {each["name"]: each for each in [*spec.get("initContainers", ()), *spec["containers"]]}


def mounts(pod: Document, container: str) -> dict[str, Document]:
    return {each["mountPath"]: each for each in containers(pod)[container]["volumeMounts"]}


def volumes(pod: Document) -> dict[str, Document]:
    return {each["name"]: each for each in pod["spec"]["volumes"]}
