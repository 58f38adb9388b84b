"""Remove all that an installation has in a cluster, once its server is gone: pods, and with them what they own. Acts."""

import asyncio
import contextlib
from collections.abc import Sequence

from tesk.compute.kubernetes import layout as names
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.credentials import find
from tesk.compute.kubernetes.objects import Bare, Pod, path_of
from tesk.compute.kubernetes.refusals import Conflict, NotFound
from tesk.compute.kubernetes.rights import namespaces, uses_queue
from tesk.compute.kubernetes.settled import doctors_id, settled
from tesk.errors import BackendUnavailable
from tesk.settings import Settings

_LOOK_SECONDS = 1.0
_BEYOND_GRACE_SECONDS = 60.0
"""How long a kubelet may take to say that what was killed is gone."""


async def clear_settled(settings: Settings) -> int:
    """Do so as the settings say: with their cluster, namespaces and `server_id`. Raises StartError."""
    cluster = settled(settings)
    async with Api(find(cluster.kubeconfig, cluster.context)) as api:
        return await clear(
            api,
            namespaces(cluster, api.namespace),
            cluster.server_id,
            jobs=uses_queue(cluster),
            grace_seconds=cluster.grace_seconds,
        )


async def clear(api: Api, places: Sequence[str], server_id: str, *, jobs: bool, grace_seconds: float) -> int:
    """End every pod of an installation in the namespaces `places`, and return how many there were once none is left.

    What is not stored of their results is lost. `jobs`: pods may come in Jobs of Kueue. Twice is once. Raises Refused, and
    BackendUnavailable where some stay for longer than `grace_seconds` and a minute.
    """
    # A doctor that was cut off has left its pod, too.
    selector = f"{names.MANAGED_BY}=tesk,{names.SERVER} in ({server_id},{doctors_id(server_id)})"
    seen: set[str] = set()
    left: set[str] = set()
    try:
        async with asyncio.timeout(grace_seconds + _BEYOND_GRACE_SECONDS):
            while True:
                left.clear()
                for namespace in places:
                    if jobs:
                        path = path_of("jobs", namespace, group="batch/v1")
                        await api.delete_all(path, selector=selector, propagation="Background")
                    left |= await _end_pods(api, path_of("pods", namespace), selector)
                seen |= left
                if not left:
                    return len(seen)
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise BackendUnavailable(f"Pods that were deleted are still there: {', '.join(sorted(left))}") from None


async def _end_pods(api: Api, path: str, selector: str) -> set[str]:
    """Delete pods, and take our finalizer off them; return those that are still there."""
    pods, _ = await api.list(path, Pod, selector=selector)
    if any(pod.metadata.deletion_timestamp is None for pod in pods):
        await api.delete_all(path, selector=selector)
    for pod in pods:
        meta = pod.metadata
        if names.FINALIZER in meta.finalizers:
            others = [each for each in meta.finalizers if each != names.FINALIZER]
            body = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": others}}
            # Changed meanwhile, by the deletion above as a rule: another look shows how.
            with contextlib.suppress(NotFound, Conflict):
                await api.patch(f"{path}/{meta.name}", body, Bare)
    return {f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in pods}
