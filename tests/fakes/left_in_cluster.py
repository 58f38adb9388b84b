"""What attempts leave in a cluster, found in one way by all tests: when all is over it is nothing."""

import asyncio
import contextlib

from msgspec import Struct

from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.objects import Meta, path_of
from tesk.errors import BackendUnavailable

KINDS = (("pods", "v1"), ("secrets", "v1"), ("persistentvolumeclaims", "v1"), ("jobs", "batch/v1"))


class Kept(Struct):
    """Any object, by its name and what keeps it."""

    metadata: Meta


async def left(api: Api, namespace: str, selector: str = "tesk/task") -> list[str]:
    """Name what is there of attempts, those of `selector` or all, and any claim; with the finalizers that keep it."""
    names = []
    for resource, group in KINDS:
        # The cluster makes the claim of a pod, without labels.
        theirs = "" if resource == "persistentvolumeclaims" else selector
        found, _ = await api.list(path_of(resource, namespace, group=group), Kept, selector=theirs)
        for each in found:
            held = f" held by {', '.join(each.metadata.finalizers)}" if each.metadata.finalizers else ""
            names.append(f"{resource}/{each.metadata.name}{held}")
    return names


async def assert_nothing_is_left(
    api: Api, namespace: str, selector: str = "tesk/task", *, seconds: float = 60.0
) -> None:
    """Fail unless nothing of attempts is there before so many seconds are over: pods, secrets, claims, jobs."""
    names = ["the API server does not answer"]
    try:
        async with asyncio.timeout(seconds):
            while names:  # the cluster takes away what a pod owned in its own time, and tells nobody
                with contextlib.suppress(BackendUnavailable):
                    names = await left(api, namespace, selector)
                await asyncio.sleep(0.2 if names else 0)
    except TimeoutError:
        raise AssertionError(f"left in the cluster after {seconds:g} s: {names}") from None
