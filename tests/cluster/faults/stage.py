"""A server of TESK whose tasks are pods of a real cluster, for tests that break something, and what must hold at the end.

The output of a task names the attempt that wrote it: a pod's host name is its own.
"""

import asyncio
import contextlib
import os
import shlex
import subprocess
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec import Struct, field

from cluster.attempts import BUSYBOX, STAGER, web
from cluster.conftest import Cluster
from fakes.left_in_cluster import Kept, assert_nothing_is_left
from fakes.process import Server
from fakes.stubborn import Client
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.objects import Meta, Pod, path_of
from tesk.compute.kubernetes.refusals import NotFound
from tesk.errors import BackendUnavailable

T = TypeVar("T")

SEED = 20261125
PATIENCE_SECONDS = 180.0
FIRST_ONLY = 'case "$(hostname)" in *-1) sleep 600;; esac'
"""A program whose first attempt does not end by itself, and whose second one does at once."""


class _Hard(Struct):
    hard: dict[str, str] = {}


class _Quota(Struct):
    metadata: Meta
    status: _Hard = field(default_factory=_Hard)


class Control:
    """The command that stops and starts parts of a cluster: `$CLUSTER_CONTROL kill kubelet`, `$CLUSTER_CONTROL start kubelet`."""

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    def kill(self, part: str) -> None:
        """End it as a crash would."""
        self._run("kill", part)

    def start(self, part: str) -> None:
        """Start it again."""
        self._run("start", part)

    @contextlib.contextmanager
    def without(self, part: str) -> Iterator[None]:
        """Kill it for as long as the block lasts, however that ends."""
        self.kill(part)
        try:
            yield
        finally:
            self.start(part)

    def _run(self, *words: str) -> None:
        # What it starts must not hold a pipe of ours.
        subprocess.run([*self._command, *words], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


class Stage:
    """A namespace, a client, a web server in a pod that keeps outputs, and servers of one installation."""

    def __init__(self, cluster: Cluster, folder: Path, ends: ExitStack) -> None:
        self.namespace = cluster.namespace
        self.server_id = f"faults-{uuid.uuid4().hex[:8]}"
        self.cluster = cluster
        self.patience_seconds = PATIENCE_SECONDS
        self._folder = folder
        self._ends = ends
        self._runner = ends.enter_context(asyncio.Runner())
        self._contexts = contextlib.AsyncExitStack()
        ends.callback(lambda: self._runner.run(self._contexts.aclose()))
        self.api: Api = self._runner.run(self._contexts.enter_async_context(cluster.api()))
        self._shelf = ""

    # -- the cluster ----------------------------------------------------------------------------------------------------------
    def run(self, body: Awaitable[T], *, seconds: float = PATIENCE_SECONDS) -> T:
        """Run something with the client, within a bound."""

        async def whole() -> T:
            async with asyncio.timeout(seconds):
                return await body

        return self._runner.run(whole())

    def asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until the API server answers: it may be on its way up."""

        async def whole() -> T:
            while True:
                with contextlib.suppress(BackendUnavailable):
                    return await ask()
                await asyncio.sleep(0.2)

        return self.run(whole())

    def path(self, resource: str, name: str = "", **given: str) -> str:
        """Return where something is in our namespace."""
        return path_of(resource, self.namespace, name, **given)

    def pods(self) -> list[Pod]:
        """Return the pods of our attempts."""
        return self.asked(lambda: self.api.list(self.path("pods"), Pod, selector=self._selector))[0]

    @property
    def _selector(self) -> str:
        return f"tesk/server={self.server_id}"

    def until(self, true: Callable[[list[Pod]], T], *, seconds: float = PATIENCE_SECONDS) -> T:
        """Return what `true` says of our pods, once it says something."""

        async def whole() -> T:
            while True:
                with contextlib.suppress(BackendUnavailable):
                    pods, version = await self.api.list(self.path("pods"), Pod, selector=self._selector)
                    if said := true(pods):
                        return said
                    watching = self.api.watch(
                        self.path("pods"), Pod, selector=self._selector, resource_version=version, lasts_seconds=5
                    )
                    async with contextlib.aclosing(watching) as events:
                        async for _ in events:
                            break

        return self.run(whole(), seconds=seconds)

    def found(self, path: str) -> None:
        """Return when something is there."""

        async def whole() -> None:
            while True:
                with contextlib.suppress(BackendUnavailable, NotFound):
                    await self.api.get(path, Kept)
                    return
                await asyncio.sleep(0.05)

        self.run(whole())

    def quota_counted(self) -> None:
        """Return when the namespace's quota has been counted: before that everything is refused."""

        async def whole() -> None:
            quotas = self.path("resourcequotas")
            found, version = await self.api.list(quotas, _Quota)
            if any(each.status.hard for each in found):
                return
            async with contextlib.aclosing(self.api.watch(quotas, _Quota, resource_version=version)) as events:
                async for event in events:
                    if event.object.status.hard:
                        break

        self.run(whole())

    def running(self, task_id: str, attempt: int = 1) -> Pod:
        """Return the pod of an attempt whose first executor runs."""
        name = f"{task_id}-{attempt}"

        def found(pods: list[Pod]) -> Pod | None:
            for pod in pods:
                if pod.metadata.name == name and any(
                    one.name == "inputs" and one.state.terminated for one in pod.status.container_statuses
                ):
                    return pod
            return None

        return self.until(found)

    @property
    def shelf(self) -> str:
        """The URL of a web server in the cluster that keeps what is put there."""
        if not self._shelf:
            self._shelf = self._runner.run(self._contexts.enter_async_context(web(self.api, self.namespace)))
        return self._shelf

    def kept(self, name: str) -> str:
        """Return what was put there under a name. Whoever can ask the API server can read it."""
        pods, _ = self.asked(lambda: self.api.list(self.path("pods"), Kept, selector="web"))
        path = self.path("pods", f"{pods[0].metadata.name}:8000", part=f"proxy/{name}")
        return self.asked(lambda: self.api.get(path, str))

    # -- servers --------------------------------------------------------------------------------------------------------------
    def server(self, name: str = "server", **settings: str) -> Server:
        """Return a server of this installation, not started; it ends with the test."""
        folder = self._folder / name
        folder.mkdir()
        server = Server(
            folder,
            **{
                "BACKEND": "kubernetes",
                "KUBERNETES_NAMESPACE": self.namespace,
                "KUBERNETES_SERVER_ID": self.server_id,
                "KUBERNETES_STAGER_IMAGE": STAGER,
                "KUBERNETES_STAGER_RAM_GB": "0.1",
                "KUBERNETES_GRACE_SECONDS": "1",
                "CONTROLLER_RETRY_SECONDS": "0.2",
                "STORAGE_PRIVATE_ADDRESSES": "true",
            }
            | settings,
        )
        self._ends.callback(server.end)
        return server

    def serving(self, name: str = "server", **settings: str) -> tuple[Server, Client]:
        """Return a server that is ready, and a client of it."""
        server = self.server(name, **settings)
        server.start()
        server.wait_until_ready()
        return server, self.client(server)

    def client(self, server: Server) -> Client:
        """Return a client of a server that may be killed."""
        return self._ends.enter_context(closing(Client(server.url, self.patience_seconds)))

    # -- tasks ----------------------------------------------------------------------------------------------------------------
    def task(self, script: str = "true", *more: str, output: str = "", **given: Any) -> dict[str, Any]:
        """Return a task of scripts, one executor each; with `output` the first says there whose attempt it is."""
        said = '; code=$?; printf \'"%s"\' "$(hostname)" >/out/said; exit $code' if output else ""
        scripts = (f"({script}){said}", *more)
        outputs = [{"path": "/out/said", "url": f"{self.shelf}/{output}"}] if output else []
        return {
            "executors": [{"image": BUSYBOX, "command": ["sh", "-c", each]} for each in scripts],
            "outputs": outputs,
            "resources": {"cpu_cores": 0.05, "ram_gb": 0.02},
        } | given

    def submit(self, client: Client, script: str = "true", *more: str, output: str = "", **given: Any) -> str:
        """Submit such a task."""
        return client.submit(key=output or None, **self.task(script, *more, output=output, **given))

    def until_said(self, client: Client, task_id: str, words: str) -> None:
        """Return when some words stand in the `system_logs` of a task."""
        end, pause = time.monotonic() + PATIENCE_SECONDS, threading.Event()
        while words not in " ".join(client.get(task_id, "FULL")["logs"][-1]["system_logs"]):
            assert time.monotonic() < end, client.get(task_id, "FULL")
            pause.wait(0.1)  # a note moves no task to another state, so nobody is told of it

    # -- the end --------------------------------------------------------------------------------------------------------------
    def assert_right(self, client: Client, ends: Mapping[str, str]) -> list[dict[str, Any]]:
        """Fail unless every task is in its right end: a state, and the name of its output where it has one. Return them."""
        return [self._right(client, task_id, *end.split()) for task_id, end in ends.items()]

    def _right(self, client: Client, task_id: str, state: str, output: str = "") -> dict[str, Any]:
        client.until(task_id, state)
        task: dict[str, Any] = client.get(task_id, "FULL")
        pods = [log.get("metadata", {}).get("kubernetes.pod") for log in task["logs"]]
        assert [pod for pod in pods if pod] == [
            f"{task_id}-{number}" for number, pod in enumerate(pods, start=1) if pod
        ], task
        if output:
            assert self.kept(output) == pods[-1], (self.kept(output), task)
        return task

    def assert_nothing_is_left(self, seconds: float = 60.0) -> None:
        """Fail unless nothing of our attempts stays in the cluster. Whoever has a stage asks this at its end."""
        whole = assert_nothing_is_left(self.api, self.namespace, self._selector, seconds=seconds)
        self.run(whole, seconds=seconds + 30)


def control() -> Control:
    """Return what stops and starts parts of the cluster; skip where nothing does."""
    command = os.environ.get("CLUSTER_CONTROL")
    if not command:
        pytest.skip("CLUSTER_CONTROL names no command that kills and starts parts of the cluster")
    return Control(command)
