"""What the containers of a pod ask for and may have. Pure.

Executors run one after the other, so what the task asks for is counted once: by the pod, or by its first executor. Every
container says all of it, 0 included, so that no LimitRange of the namespace fills in what we did not say. Each executor has
the task's memory as its own limit: one that takes more is killed alone.
"""

from math import ceil

from msgspec import Struct

from tesk.compute.plan import Plan
from tesk.settings import KubernetesSettings

_LEAST_BYTES = 16 * 1024 * 1024
"""With less no container starts at all: its limit counts from before its first process."""

Amounts = dict[str, str]


class Resources(Struct, frozen=True, kw_only=True):
    """`requests` and `limits` as in a manifest."""

    requests: Amounts
    limits: Amounts

    def manifest(self) -> dict[str, object]:
        """Return the object of a container or pod."""
        return {"requests": dict(self.requests), "limits": dict(self.limits)}


class PodResources(Struct, frozen=True, kw_only=True):
    """What each part asks for. `pod` None: its containers say it. `prepare` is the init container's."""

    pod: Resources | None
    inputs: Resources
    executors: tuple[Resources, ...]
    outputs: Resources
    prepare: Resources


def share(
    plan: Plan,
    settings: KubernetesSettings,
    *,
    pod_resources: bool,
    node_disk_bytes: int,
    node_limit_bytes: int,
    gpus: dict[int, int],
) -> PodResources:
    """Share out what a plan asks for. `gpus`: how many, by executor.

    `node_disk_bytes`: of the node's own disk, 0 for none. `node_limit_bytes`: the most of it, 0 for no limit.
    """
    cores, memory = max(plan.cpu_cores, 0.001), max(plan.ram_bytes, _LEAST_BYTES)
    own_cores, own_memory = settings.stager_cpu_cores, round(settings.stager_ram_gb * 1e9)
    least_cores, least_memory = settings.least_cpu_cores, round(settings.least_ram_gb * 1e9)
    count = len(plan.steps) + 2
    # What containers ask for in all must fit into what their pod asks for.
    whole = _amounts(max(cores + own_cores, least_cores * count), max(memory + own_memory, least_memory * count))
    least, stager = (
        _amounts(least_cores, least_memory),
        _amounts(max(own_cores, least_cores), max(own_memory, least_memory)),
    )
    theirs = _amounts(max(cores, least_cores), max(memory, least_memory))
    disk = {"ephemeral-storage": str(node_disk_bytes)} if node_disk_bytes else {}
    most_disk = {"ephemeral-storage": str(node_limit_bytes)} if node_limit_bytes else {}
    no_disk = {"ephemeral-storage": "0"}  # a quota may want it to be said
    # While data moves the stager may use the cores of executors, which do nothing then. What it is to a small task is its
    # start: in a hundredth of a core that took half a minute.
    most = whole | _cpu(max(cores + own_cores, least_cores * count, settings.stager_cpu_limit_cores))
    ours = {**stager, "cpu": most["cpu"], **most_disk}

    def executor(index: int) -> Resources:
        first = index == 0
        asked = theirs if first and not pod_resources else least
        devices = {settings.gpu_resource: str(gpus[index])} if gpus.get(index) else {}
        return Resources(
            requests={**asked, **((first and disk) or no_disk), **devices}, limits={**theirs, **most_disk, **devices}
        )

    return PodResources(
        pod=Resources(requests=whole, limits=most) if pod_resources else None,
        inputs=Resources(requests={**least, **no_disk}, limits=ours),
        executors=tuple(executor(index) for index in range(len(plan.steps))),
        outputs=Resources(requests={**(least if pod_resources else stager), **no_disk}, limits=ours),
        prepare=Resources(requests={**least, **no_disk}, limits=ours),
    )


def _amounts(cores: float, memory_bytes: int) -> Amounts:
    return {**_cpu(cores), "memory": str(memory_bytes)}


def _cpu(cores: float) -> Amounts:
    thousandths = ceil(round(cores * 1000, 6))
    return {"cpu": f"{thousandths}m" if thousandths else "0"}
