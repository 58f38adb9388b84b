"""The backend `kubernetes` on the cluster that KUBECONFIG names, in a namespace of the session's own.

What a ShelfStager does on this machine is done there by the real stager: contents come from, and outputs go to, a web
server of the test, which pods reach at an address of this machine that is a node's as well.
"""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from functools import partial
from urllib.parse import quote, unquote

import pytest
from msgspec import Struct
from msgspec.structs import replace

from fakes.attempts import FaultyStager, ShelfStager, finish, plan, shell
from fakes.left_in_cluster import assert_nothing_is_left
from tesk import __version__
from tesk.compute.backend import AttemptId, Phase
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.backend import KubernetesBackend
from tesk.compute.kubernetes.cluster import Needed, Resolve
from tesk.compute.kubernetes.credentials import find
from tesk.compute.kubernetes.objects import Bare, Meta, Pod, path_of
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.refusals import NotFound
from tesk.compute.kubernetes.settled import policy_of
from tesk.compute.plan import Plan
from tesk.settings import KubernetesSettings, StorageSettings
from tesk.storage.needed import needed
from tesk.tes.patterns import has_wildcards, literal

STAGER = os.environ.get("STAGER_IMAGE", f"docker.io/tesk/stager:{__version__}")


class Missing(Exception):
    """There is no cluster here; the sentence says why."""


class Shelf:
    """A web server in front of a ShelfStager: it gives contents and takes outputs, and is held up where that is."""

    def __init__(self, stager: ShelfStager) -> None:
        self.contents: dict[str, bytes] = {}
        self._stager = stager
        self._lines: set[asyncio.Task[None]] = set()

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        line = asyncio.create_task(self._serve(reader, writer))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)

    async def close(self) -> None:
        """End all connections."""
        for line in [*self._lines]:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    await self._answer(head.decode("latin-1"), reader, writer)
        finally:
            writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = head.split(" ", 2)
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        path = unquote(target).removeprefix("/in").removeprefix("/out")
        data = self.contents.get(path)
        if method == "PUT":
            if "100-continue" in headers.get("expect", ""):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(int(headers["content-length"]))
            await self._hold()
            self._stager.shelf[path] = body
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        elif data is None:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        else:
            await self._hold()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data * (method == "GET"))
        await writer.drain()

    async def _hold(self) -> None:
        self._stager.busy.set()
        if self._stager.held is not None:
            await self._stager.held.wait()


class ShelvedBackend(KubernetesBackend):
    """Has the data of its plans come from a shelf and go there."""

    shelf: Shelf
    url: str

    async def start(self, attempt: AttemptId, plan: Plan) -> None:
        inputs = []
        for entry in plan.transfer.inputs:
            if entry.content is not None:
                self.shelf.contents[entry.path] = entry.content.encode()
            inputs.append(replace(entry, content=None, url=f"{self.url}/in{quote(entry.path)}"))
        # Below a pattern's URL comes the path of what it matches.
        outputs = [
            replace(entry, url=f"{self.url}/out{'' if has_wildcards(entry.path) else quote(literal(entry.path))}")
            for entry in plan.transfer.outputs
        ]
        transfer = replace(plan.transfer, inputs=tuple(inputs), outputs=tuple(outputs))
        await super().start(attempt, replace(plan, transfer=transfer))


class _Address(Struct, frozen=True):
    type: str = ""
    address: str = ""


class _NodeStatus(Struct, frozen=True):
    addresses: tuple[_Address, ...] = ()


class _Node(Struct, frozen=True):
    metadata: Meta = Meta()
    status: _NodeStatus = _NodeStatus()


async def same(image: str, caller: str) -> str:
    """Resolve nothing."""
    return image


def settings(namespace: str, **more: object) -> KubernetesSettings:
    """Settings under which a story takes no time."""
    server = f"test-{uuid.uuid4().hex[:12]}"
    given = {"stager_cpu_cores": 0.05, "stager_ram_gb": 0.2, "grace_seconds": 5, "stager_image": STAGER} | more
    return KubernetesSettings(namespace=namespace, **{"server_id": server, **given})


def parts(given: KubernetesSettings, **storage: object) -> tuple[Policy, Needed, Resolve]:
    """What a backend is built of beside its settings."""
    theirs = partial(needed, StorageSettings(private_addresses=True, tries=1, **storage), web_identity=False)
    return policy_of(given), theirs, same


@contextlib.asynccontextmanager
async def opened(kind: type[KubernetesBackend], given: KubernetesSettings, **storage: object):
    """Give a backend that is open; what it leaves is removed at the end."""
    backend = kind(given, *parts(given, **storage))
    await backend.open()
    try:
        yield backend
    finally:
        async for attempt in backend.existing():
            await backend.forget(attempt)
        await backend.close()


@contextlib.asynccontextmanager
async def kubernetes(
    namespace: str, stager: ShelfStager | None = None, **more: object
) -> AsyncIterator[KubernetesBackend]:
    """Give a backend `kubernetes` that is open."""
    if isinstance(stager, FaultyStager):
        pytest.skip("the stager of a pod is a program of its own: its faults are the pod's")
    shelf = Shelf(stager or ShelfStager())
    async with opened(ShelvedBackend, settings(namespace, **more)) as backend:
        server = await asyncio.start_server(shelf.serve, await address(backend.api))
        backend.shelf = shelf
        host, port = server.sockets[0].getsockname()[:2]
        backend.url = f"http://{host}:{port}"
        try:
            yield backend
        finally:
            server.close()
            await shelf.close()


async def address(api: Api) -> str:
    """Return an address of this machine that pods reach: that of a node, where the node is this machine."""
    nodes, _ = await api.list(path_of("nodes"), _Node)
    for host in (each.address for node in nodes for each in node.status.addresses if each.type == "InternalIP"):
        with contextlib.suppress(OSError):
            (await asyncio.start_server(lambda *_: None, host)).close()
            return host
    pytest.skip("no node of the cluster is this machine, so pods would not reach its web server")


async def all_gone(namespace: str) -> None:
    """Wait until nothing of attempts is left in a namespace."""
    async with Api(find()) as api:
        await assert_nothing_is_left(api, namespace)


@contextlib.contextmanager
def namespace() -> Iterator[str]:
    """Give a namespace in which pods run, deleted afterwards, when nothing must be left in it. Raises Missing."""
    if not os.environ.get("KUBECONFIG"):
        raise Missing("KUBECONFIG names no cluster to run pods in")
    name = f"tesk-test-{uuid.uuid4().hex[:8]}"

    async def make() -> None:
        async with Api(find()) as api:
            manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await api.create(path_of("namespaces"), manifest, Bare)

    async def look() -> None:
        async with opened(KubernetesBackend, settings(name, image_wait_seconds=0)) as backend:
            seen = await finish(backend, plan(shell("true"), cpu_cores=0.1, ram_bytes=10**8))
            if seen.phase is not Phase.DONE:
                raise Missing(f"pods do not run in the cluster: {seen.reason}")

    async def remove() -> None:
        async with Api(find()) as api:
            pods, _ = await api.list(path_of("pods", name), Pod)
            for pod in pods:
                with contextlib.suppress(NotFound):
                    path = path_of("pods", name, pod.metadata.name)
                    await api.patch(path, {"metadata": {"finalizers": None}}, Bare)
            await api.delete(path_of("namespaces", name=name))

    asyncio.run(make())
    try:
        asyncio.run(look())
        yield name
        asyncio.run(all_gone(name))
    finally:
        asyncio.run(remove())
