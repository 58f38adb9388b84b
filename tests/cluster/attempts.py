"""One attempt in a real cluster without a server: its pod and secret made, waited for, read and removed."""

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import pytest
from msgspec import Struct, field

from tesk import __version__
from tesk.compute.backend import AttemptId
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.layout import Layout
from tesk.compute.kubernetes.manifests import pod_manifest
from tesk.compute.kubernetes.objects import Bare, Condition, ContainerStatus, Meta, Pod, path_of
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.secret import secret_manifest
from tesk.compute.plan import make_plan
from tesk.pod import OUTPUTS, AttemptReport
from tesk.pod_report import read_report
from tesk.settings import KubernetesSettings, StorageSettings
from tesk.tes.task import Extension, Task

STAGER = os.environ.get("STAGER_IMAGE", f"docker.io/tesk/stager:{__version__}")
BUSYBOX = os.environ.get("BUSYBOX_IMAGE", "docker.io/library/busybox:latest")
STORAGE = StorageSettings(private_addresses=True, tries=2)
NEVER_PULLED = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"})

LAYOUTS = {
    "image volume": Layout(image_volume=True, image_subpath=True, pod_resources=True),
    "copied": Layout(pod_resources=True),
    "copied, limits on one container": Layout(),
}


@dataclass
class Attempt:
    """A pod that is under way. `seconds`: from its create to the moment it was seen at its end."""

    api: Api
    namespace: str
    name: str
    pod: Pod
    begun: float
    seconds: float = 0.0

    def container(self, name: str) -> ContainerStatus:
        return next(one for one in self.pod.status.container_statuses if one.name == name)

    async def until(self, true: Callable[[Pod], bool]) -> Pod:
        """Watch until something is true of the pod. Skips where the node has no image of ours."""
        path = path_of("pods", self.namespace)
        selector = f"tesk/task={self.pod.metadata.labels['tesk/task']}"
        pods, version = await self.api.list(path, Pod, selector=selector)
        self._see(pods[0])
        if not true(self.pod):
            async with contextlib.aclosing(
                self.api.watch(path, Pod, selector=selector, resource_version=version)
            ) as events:
                async for event in events:
                    if event.type == "MODIFIED":
                        self._see(event.object)
                        if true(self.pod):
                            break
        self.seconds = time.perf_counter() - self.begun
        return self.pod

    async def report(self) -> AttemptReport:
        """Wait until `outputs` is over, and return what its log says. The summary says the same, as far as it goes."""
        await self.until(lambda pod: _terminated(pod, OUTPUTS))
        pieces = [piece async for piece in self.api.logs(self.namespace, self.name, OUTPUTS)]
        words = b"".join(pieces)
        report = read_report(words.splitlines()[-1]) if words else None
        assert report is not None, words.decode()
        over = self.container(OUTPUTS).state.terminated
        assert over is not None
        short = read_report((over.message or "").encode())
        assert short is not None, over.message
        assert short == report or short.cut
        return report

    def _see(self, pod: Pod) -> None:
        self.pod = pod
        for one in (*pod.status.init_container_statuses, *pod.status.container_statuses):
            waiting = one.state.waiting
            if waiting and waiting.reason in NEVER_PULLED and STAGER in (waiting.message or ""):
                pytest.skip(f"the node has no image {STAGER}: make images, and give it the node")


@contextlib.asynccontextmanager
async def attempt(
    api: Api,
    namespace: str,
    task: Task,
    *,
    layout: Layout = LAYOUTS["image volume"],
    template: str = "",
    ram_bytes: int = 200_000_000,
    given: Mapping[str, object] | None = None,
) -> AsyncIterator[Attempt]:
    """Make the pod of a task and its secret; take both away at the end."""
    settings = KubernetesSettings(server_id="here", stager_image=STAGER, **(given or {}))
    number = AttemptId(uuid.uuid4().hex[:26], 1)
    plan = make_plan(
        task,
        task_id=number.task_id,
        owner="alice",
        extension=Extension(),
        cpu_cores=0.1,
        ram_bytes=ram_bytes,
        disk_bytes=0,
        tail_bytes=65536,
    )
    manifest = pod_manifest(number, plan, settings, layout, Policy(settings, template).asked(plan))
    begun = time.perf_counter()
    pod = await api.create(path_of("pods", namespace), manifest, Pod)
    try:
        secret = secret_manifest(number, plan, pod.metadata.uid, STORAGE, server_id="here", namespace=namespace)
        await api.create(path_of("secrets", namespace), secret, Bare)
        yield Attempt(api, namespace, pod.metadata.name, pod, begun)
    finally:
        path = path_of("pods", namespace, pod.metadata.name)
        await api.patch(path, {"metadata": {"finalizers": None}}, Bare)
        await api.delete(path, grace_seconds=1)


@contextlib.asynccontextmanager
async def web(api: Api, namespace: str) -> AsyncIterator[str]:
    """Give the URL of a web server in the cluster that keeps what is put there. Our image has a Python."""
    name = f"web-{uuid.uuid4().hex[:8]}"
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"web": name}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsUser": 65532, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "web",
                    "image": STAGER,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-u", "-c", _WEB],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
                }
            ],
        },
    }
    path = path_of("pods", namespace)
    await api.create(path, manifest, _Server)
    try:
        watching = api.watch(path, _Server, selector=f"web={name}", resource_version="0")
        async with asyncio.timeout(60), contextlib.aclosing(watching) as events:
            async for event in events:
                status = event.object.status
                if any(one.type == "Ready" and one.status == "True" for one in status.conditions):
                    break
        yield f"http://{status.pod_ip}:8000"
    finally:
        await api.delete(path_of("pods", namespace, name), grace_seconds=0)


class _Addressed(Struct, rename={"pod_ip": "podIP"}):
    pod_ip: str = ""
    conditions: tuple[Condition, ...] = ()


class _Server(Struct):
    metadata: Meta = Meta()
    status: _Addressed = field(default_factory=_Addressed)


def _terminated(pod: Pod, name: str) -> bool:
    return any(one.name == name and one.state.terminated for one in pod.status.container_statuses)


_WEB = """
import http.server
kept = {}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, code, body=b""):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
    def do_GET(self):
        self.answer(200, kept[self.path]) if self.path in kept else self.answer(404)
    do_HEAD = do_GET
    def do_PUT(self):
        kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201)
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
