"""A task on a real cluster beside the pods that it could be at best. Wants KUBECONFIG, and both images loaded (`make images`)."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench import servers
from bench.bare_pods import Place, bare, container
from bench.outstanding import keep
from bench.table import Figure, in_turn
from tesk import __version__

ROUNDS = 7
AT_ONCE = 10
IMAGE = "docker.io/library/busybox:latest"
STAGER = os.environ.get("STAGER_IMAGE", f"docker.io/tesk/stager:{__version__}")
NAMESPACE = "tesk-bench"
_numbers = itertools.count()


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name, _namespace() as place:
        folder = Path(name)
        return [*_alone(folder, place), *_copied(folder, place), *_with_data(folder, place), *_canceled(folder)]


def _alone(folder: Path, place: Place) -> list[Figure]:
    what = "POST to COMPLETE, image volume, beside a bare pod of one container"
    return _beside(folder / "image", "image", what, lambda _: _bare(place))


def _copied(folder: Path, place: Place) -> list[Figure]:
    """Beside the same containers, with nothing that waits in them."""
    shim = "/shim/tesk-shim"

    def same(executors: int) -> float:
        ours = [container(name, STAGER, shim, "version") for name in ("inputs", "outputs")]
        theirs = [container(f"executor-{n}", IMAGE, "true") for n in range(executors)]
        first = container("shim", STAGER, shim, "version")
        return 1000 * place.pods([bare(_name(), *ours, *theirs, initContainers=[first])])

    return _beside(folder / "copy", "copy", "shim copied, beside a bare pod of the same containers", same)


def _beside(folder: Path, shim: str, what: str, peer: Callable[[int], float]) -> list[Figure]:
    """`true` in one executor and in three; `peer` takes their number and gives milliseconds."""
    figures = []
    with _server(folder, shim=shim) as server:
        for executors in (1, 3):
            measured = in_turn(partial(_run, server.port, _no_op(executors)), partial(peer, executors), ROUNDS)
            name = f"`true` in {executors} executor{'s' * (executors > 1)}, {what}"
            figures.append(Figure(name, *_timed(measured), "<=", 1.10))
    return figures


def _with_data(folder: Path, place: Place) -> list[Figure]:
    """One input and one output over FTP."""
    with _ftp(folder / "ftp") as address, _server(folder / "data", shim="image") as server:
        task = {
            **_no_op(1, "sh", "-c", "cat /data/in > /data/out"),
            "inputs": [{"url": f"ftp://{address}/in", "path": "/data/in"}],
            "outputs": [{"url": f"ftp://{address}/out-NUMBER", "path": "/data/out"}],
        }

        def ours(at_once: int) -> float:
            # By the clock of one client: ten that begin take half a second of a machine that is to run ten pods.
            return 1000 * at_once / keep(server.port, at_once, at_once, json.dumps(task).encode()).rate

        def same(at_once: int) -> float:
            ours = [container(name, STAGER, "/shim/tesk-shim", "version") for name in ("inputs", "outputs")]
            return 1000 * place.pods(
                [bare(_name(), *ours, container("executor-0", IMAGE, "true")) for _ in range(at_once)]
            )

        one = in_turn(lambda: ours(1), lambda: _bare(place), ROUNDS)
        ten = in_turn(lambda: ours(AT_ONCE), lambda: same(AT_ONCE), 3)
    return [
        Figure("a task with one input and one output over FTP, beside a bare pod of one container", *_timed(one), "<=", 1.25),
        Figure(
            f"{AT_ONCE} such tasks at once, beside {AT_ONCE} bare pods of the same containers at once",
            *_timed(ten),
            "<=",
            1.2,
        ),
    ]  # fmt: skip


def _canceled(folder: Path) -> list[Figure]:
    """From the call to the pod gone, for a program that heeds TERM, less what is allowed beyond a bare deletion."""
    heeds = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")

    def ours(port: int) -> float:
        task_id = _post(port, _no_op(1, *heeds))
        _until(port, task_id, {"RUNNING"})
        begun = time.perf_counter()
        _curl(port, "POST", f"/ga4gh/tes/v1/tasks/{task_id}:cancel")
        _until(port, task_id, {"CANCELED"})
        _kubectl("wait", "--for=delete", "pod", "-l", f"tesk/task={task_id}", "--timeout=60s")
        return (time.perf_counter() - begun) * 1000

    def by_hand() -> float:
        name = _name()
        manifest = bare(name, container("program", IMAGE, *heeds), terminationGracePeriodSeconds=30)
        _kubectl("create", "-f", "-", text=json.dumps(manifest))
        _kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
        begun = time.perf_counter()
        _kubectl("delete", "pod", name)
        return (time.perf_counter() - begun) * 1000 + 500

    with _server(folder / "cancel", shim="image") as server:
        measured = in_turn(lambda: ours(server.port), by_hand, 5)
    return [Figure("cancel to pod gone, beside `kubectl delete pod` and 0.5 s", *_timed(measured), "<=", 1.0)]


def _timed(measured: tuple[float, float, float]) -> tuple[float, float, str, float]:
    return measured[0], measured[1], "ms", measured[2]


def _bare(place: Place) -> float:
    return 1000 * place.pods([bare(_name(), container("program", IMAGE, "true"))])


def _name() -> str:
    return f"bare-{os.getpid()}-{next(_numbers)}"


def _no_op(executors: int, *command: str) -> dict[str, Any]:
    one = {"image": IMAGE, "command": list(command or ("true",))}
    return {"executors": [one] * executors, "resources": {"cpu_cores": 0.05, "ram_gb": 0.05}}


def _run(port: int, task: dict[str, Any]) -> float:
    return keep(port, 1, 1, json.dumps(task).encode()).median_seconds * 1000


def _post(port: int, task: dict[str, Any]) -> str:
    return str(json.loads(_curl(port, "POST", "/ga4gh/tes/v1/tasks", json.dumps(task)))["id"])


def _until(port: int, task_id: str, states: set[str]) -> None:
    for _ in range(600):
        state = json.loads(_curl(port, "GET", f"/ga4gh/tes/v1/tasks/{task_id}"))["state"]
        if state in states:
            return
        if state in {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR"}:
            raise RuntimeError(f"{task_id} ended {state}")
        time.sleep(0.05)
    raise RuntimeError(f"{task_id} did not come to {states}")


def _curl(port: int, method: str, path: str, body: str = "") -> str:
    command = ["curl", "-sS", "--fail", "-X", method, "-H", "Content-Type: application/json"]
    command += ["--data-binary", "@-"] if body else []
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{path}"], input=body, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def _kubectl(*arguments: str, text: str | None = None) -> str:
    done = subprocess.run(
        ["kubectl", "-n", NAMESPACE, *arguments], input=text, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def _server(folder: Path, *, shim: str) -> contextlib.AbstractContextManager[servers.Server]:
    folder.mkdir()
    settings = {
        "BACKEND": "kubernetes",
        "KUBERNETES_NAMESPACE": NAMESPACE,
        "KUBERNETES_STAGER_IMAGE": STAGER,
        "KUBERNETES_SHIM": shim,
        "KUBERNETES_SERVER_ID": f"bench-{os.getpid()}-{folder.name}",
        "STORAGE_PRIVATE_ADDRESSES": "true",
    }
    return servers.tesk(folder, settings=settings)


@contextlib.contextmanager
def _namespace() -> Iterator[Place]:
    if "KUBECONFIG" not in os.environ:
        raise SystemExit("bench: KUBECONFIG names no cluster")
    _kubectl("create", "namespace", NAMESPACE)
    try:
        _kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
        yield Place(NAMESPACE)
    finally:
        _kubectl("delete", "namespace", NAMESPACE, "--wait=true", "--timeout=120s")


@contextlib.contextmanager
def _ftp(folder: Path) -> Iterator[str]:
    """An FTP server on this machine's address that pods reach: that of the node that is this machine."""
    folder.mkdir()
    (folder / "in").write_bytes(b"x" * 1024)
    address = _kubectl(
        "get",
        "nodes",
        "-l",
        "type!=kwok",
        "-o",
        "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}",
    )
    command = [sys.executable, "-m", "bench.ftpd", str(folder), "0", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        try:
            yield f"{address}:{port}"
        finally:
            process.terminate()
