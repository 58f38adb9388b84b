"""A real cluster, the one that KUBECONFIG names, and a namespace of each module's own in it."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.credentials import find
from tesk.compute.kubernetes.objects import Bare, Pod, path_of
from tesk.compute.kubernetes.refusals import NotFound
from tesk.errors import BackendUnavailable

BOUND_SECONDS = 120.0
"""Longer than anything in a cluster that works takes."""


class Cluster:
    """A namespace in a cluster that works. Whoever wants another client asks `api` for one."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    @contextlib.asynccontextmanager
    async def api(self, **given: float) -> AsyncIterator[Api]:
        async with Api(find(), **given) as api:
            yield api

    def path(self, resource: str, name: str = "", **given: str) -> str:
        return path_of(resource, self.namespace, name, **given)

    def run(self, body: Callable[[Api], Awaitable[None]], *, bound_seconds: float = BOUND_SECONDS) -> None:
        """Run `body` with a client, within a bound."""

        async def whole() -> None:
            async with asyncio.timeout(bound_seconds), self.api() as api:
                await body(api)

        asyncio.run(whole())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker("cluster")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Give a namespace of the cluster that KUBECONFIG names, deleted afterwards; skip where there is none."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster to run pods in")
    there = Cluster(f"tesk-test-{uuid.uuid4().hex[:8]}")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": there.namespace}}

    async def make(api: Api) -> None:
        await api.create(path_of("namespaces"), namespace, Bare)
        # Without its account no pod is taken.
        watching = api.watch(there.path("serviceaccounts"), Bare, resource_version="0")
        async with contextlib.aclosing(watching) as events:
            async for event in events:
                if event.object.metadata.name == "default":
                    break

    async def remove(api: Api) -> None:
        # What a test left with a finalizer would keep the namespace for ever.
        pods, _ = await api.list(there.path("pods"), Pod)
        for pod in pods:
            with contextlib.suppress(NotFound):
                await api.patch(there.path("pods", pod.metadata.name), {"metadata": {"finalizers": None}}, Bare)
        await api.delete(path_of("namespaces", name=there.namespace))

    async def remove_at_last(api: Api) -> None:
        # A test that killed the API server, and failed, may have left it on its way up.
        while True:
            with contextlib.suppress(BackendUnavailable):
                return await remove(api)
            await asyncio.sleep(0.2)

    there.run(make)
    try:
        yield there
    finally:
        there.run(remove_at_last)
