"""Many tasks at once on nodes that only seem to be (kwok): rate, calls, memory, processor time, restart. Wants KUBECONFIG and `kwok`."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench import servers
from bench.bare_tasks import bare_tasks
from bench.table import Figure
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.credentials import find
from tesk.compute.kubernetes.layout import MANAGED_BY
from tesk.compute.kubernetes.objects import Pod, path_of
from tesk.compute.kubernetes.rights import ALWAYS, role_rules
from tesk.settings import KubernetesSettings

NAMESPACE = "tesk-bench-fleet"
NODES = 4
AT_ONCE = 1_000
ACTIVE = int(os.environ.get("BENCH_ACTIVE", "10000"))
COUNTED = 100
_SOON, _LATE = "1", "100000"
_IMAGE = "docker.io/library/busybox:latest"
_TASK = json.dumps(
    {
        "executors": [{"image": _IMAGE, "command": ["true"]}],
        "resources": {"cpu_cores": 0.01, "ram_gb": 0.001},
    }
).encode()


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name, _cluster(Path(name)) as kubeconfig:
        folder = Path(name)
        return [*_rate(folder, kubeconfig), *_active(folder, kubeconfig)]


def _rate(folder: Path, kubeconfig: Path) -> list[Figure]:
    with _server(folder / "rate", kubeconfig, _SOON) as server:
        _submit(server.port, 20)  # what is compiled and connected once
        _ended(server.port, 20)
        before = _calls()
        _submit(server.port, COUNTED)
        _ended(server.port, 20 + COUNTED)
        _forgotten()
        calls = (_calls() - before) / COUNTED
        begun = time.perf_counter()
        _submit(server.port, AT_ONCE)
        _ended(server.port, 20 + COUNTED + AT_ONCE)
        _forgotten()  # as the loop does
        ours = AT_ONCE / (time.perf_counter() - begun)
    alone = AT_ONCE / asyncio.run(bare_tasks(AT_ONCE, _TASK, KubernetesSettings(**_in_force("bare", kubeconfig))))
    return [
        Figure(
            f"{AT_ONCE:,} tasks at once on fake nodes, beside a bare loop that makes, watches and removes the same objects",
            ours,
            alone,
            "/s",
            ours / alone,
            ">=",
            0.8,
        ),
        Figure("calls to the API server for a task, counted there", calls, 1, "calls", calls, "<=", 8),
    ]


def _active(folder: Path, kubeconfig: Path) -> list[Figure]:
    with _server(folder / "active", kubeconfig, _LATE) as server:
        _submit(server.port, ACTIVE)
        _running(server.port, ACTIVE)
        time.sleep(30)  # until all is quiet
        before, calls, begun = server.cpu_seconds(), _calls(), time.perf_counter()
        time.sleep(60)
        used = (server.cpu_seconds() - before) / (time.perf_counter() - begun)
        while_running = _calls() - calls
        memory = server.memory_bytes()
    listing = subprocess.run(
        [servers.peer("kubernetes"), Path(__file__).with_name("listing.py"), NAMESPACE],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    official = json.loads(listing.stdout)
    begun = time.perf_counter()
    asyncio.run(_paged_list())
    listed = time.perf_counter() - begun
    begun = time.perf_counter()
    with _server(folder / "active", kubeconfig, _LATE) as server:
        _held(server.port, ACTIVE)
        restarted = time.perf_counter() - begun
    mb = 1024 * 1024
    return [
        Figure(
            f"memory with {ACTIVE:,} active tasks, beside the same pods listed by the official client",
            memory / mb,
            official["memory_bytes"] / mb,
            "MiB",
            memory / official["memory_bytes"],
            "<=",
            0.15,
        ),
        Figure("processor time while they run, of a core", used * 100, 100, "%", used, "<=", 0.05),
        # The watch itself, which is one for all of them, is begun anew each few minutes.
        Figure(
            "calls to the API server for each of them in a minute while they run, a renewed watch aside",
            while_running / ACTIVE,
            1,
            "calls",
            max(0.0, while_running - 1) / ACTIVE,
            "<=",
            0,
        ),
        Figure(
            f"restart with {ACTIVE:,} active tasks until all are held again, beside one paged list by a bare client",
            restarted,
            listed,
            "s",
            restarted / listed,
            "<=",
            3,
        ),
    ]


async def _paged_list() -> int:
    async with Api(find()) as api:
        items, _ = await api.list(path_of("pods", NAMESPACE), Pod)
        return len(items)


def _template(seconds: str) -> dict[str, Any]:
    annotations = {"tesk.test/seconds": seconds} | ({"tesk.test/clear": "yes"} if seconds == _LATE else {})
    return {
        "metadata": {"annotations": annotations},
        "spec": {
            "nodeSelector": {"tesk.test/fleet": "yes"},
            "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
        },
    }


def _in_force(name: str, kubeconfig: Path, seconds: str = _SOON) -> dict[str, Any]:
    """Return the settings of the cluster of one server, or of what is done without one."""
    return {
        "kubeconfig": str(kubeconfig),
        "namespace": NAMESPACE,
        "server_id": f"bench-{os.getpid()}-{name}",
        "pod_template": json.dumps(_template(seconds)),
        "pending_limit": 20000,
        "stager_cpu_cores": 0.001,
    }


@contextlib.contextmanager
def _server(folder: Path, kubeconfig: Path, seconds: str) -> Iterator[servers.Server]:
    folder.mkdir(exist_ok=True)
    cluster = _in_force(folder.name, kubeconfig, seconds)
    settings = {"BACKEND": "kubernetes"} | {f"KUBERNETES_{key.upper()}": str(value) for key, value in cluster.items()}
    with servers.tesk(folder, settings=settings) as server:
        yield server


def _submit(port: int, amount: int) -> None:
    def some(count: int) -> None:
        connection = HTTPConnection("127.0.0.1", port)
        for _ in range(count):
            connection.request("POST", "/ga4gh/tes/v1/tasks", _TASK, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"a submission was answered {answer.status}: {answer.read()!r}")
            answer.read()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(some, [amount // 8 + (number < amount % 8) for number in range(8)]))


def _metric(port: int, pattern: str) -> float:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    found = re.search(pattern + r" ([0-9.e+]+)$", connection.getresponse().read().decode(), re.MULTILINE)
    connection.close()
    return float(found[1]) if found else 0.0


def _until(what: str, reached: float, ask: Any, seconds: float = 1200) -> None:  # noqa: ANN401
    end = time.perf_counter() + seconds
    while (now := ask()) < reached:
        if time.perf_counter() > end:
            raise RuntimeError(f"{what}: {now:g} of {reached:g} after {seconds:g} s")
        time.sleep(0.2)


def _ended(port: int, amount: int) -> None:
    _until("ended", amount, lambda: _metric(port, r'^tesk_task_run_seconds_count\{state="COMPLETE"\}'))


def _running(port: int, amount: int) -> None:
    _until("running", amount, lambda: _metric(port, r'^tesk_tasks\{state="RUNNING"\}'))


def _held(port: int, amount: int) -> None:
    _until("held", amount, lambda: _metric(port, r"^tesk_tasks_held"))


def _forgotten() -> None:
    """Wait until no pod of a task is left."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={MANAGED_BY}%3Dtesk&limit=1"
    _until("pods gone", 0, lambda: -len(json.loads(_kubectl("get", "--raw", path))["items"]))


def _calls() -> float:
    """How many requests of our user the API server has taken: they have a flow of their own there, which it counts."""
    text = _kubectl("get", "--raw", "/metrics")
    lines = re.findall(
        r'^apiserver_flowcontrol_dispatched_requests_total\{flow_schema="tesk-bench".*\} ([0-9.e+]+)$',
        text,
        re.MULTILINE,
    )
    return sum(map(float, lines))


def _kubectl(*arguments: str, text: str | None = None) -> str:
    done = subprocess.run(["kubectl", *arguments], input=text, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def _objects() -> list[dict[str, Any]]:
    user = {"kind": "ServiceAccount", "serviceAccount": {"name": "tesk", "namespace": NAMESPACE}}
    rbac = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tesk"}
    here = {"name": "tesk", "namespace": NAMESPACE}
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"fleet-{number}",
                "labels": {"tesk.test/fleet": "yes", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
                "annotations": {"kwok.x-k8s.io/node": "fake"},
            },
            "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
            "status": {
                each: {"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "16Ti", "pods": "5000"}
                for each in ("capacity", "allocatable")
            },
        }
        for number in range(NODES)
    ]
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": here},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": here, "rules": role_rules(ALWAYS)},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": here,
            "roleRef": rbac,
            "subjects": [{"kind": "ServiceAccount", **here}],
        },
        {
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": "FlowSchema",
            "metadata": {"name": "tesk-bench"},
            "spec": {
                "priorityLevelConfiguration": {"name": "workload-high"},
                "matchingPrecedence": 100,
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [
                    {
                        "subjects": [user],
                        "resourceRules": [
                            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
                        ],
                        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                    }
                ],
            },
        },
        *nodes,
    ]  # fmt: skip


@contextlib.contextmanager
def _cluster(folder: Path) -> Iterator[Path]:
    """Fake nodes, a namespace, a user with the rights that the chart gives; yields a kubeconfig of that user."""
    kwok = shutil.which("kwok")
    if "KUBECONFIG" not in os.environ or kwok is None:
        raise SystemExit("bench: this wants a cluster (KUBECONFIG) and kwok, for nodes that only seem to be")
    _kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects()}))
    options = ["--manage-nodes-with-label-selector", "tesk.test/fleet=yes", "--node-lease-duration-seconds", "40"]
    config = Path(__file__).with_name("fake_nodes.yaml")
    with (folder / "kwok.log").open("wb") as log:
        process = subprocess.Popen(
            [kwok, "--kubeconfig", os.environ["KUBECONFIG"], *options, "--config", config,
             "--server-address", f"127.0.0.1:{servers.free_port()}"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _kubectl("wait", "--for=condition=Ready", "node", "-l", "tesk.test/fleet=yes", "--timeout=60s")
        yield _kubeconfig(folder)
    finally:
        _kubectl("-n", NAMESPACE, "delete", "pods", "--all", "--wait=false")
        _kubectl("delete", "namespace", NAMESPACE, "--timeout=900s")
        process.terminate()
        process.wait()
        _kubectl("delete", "nodes", "-l", "tesk.test/fleet=yes")
        _kubectl("delete", "flowschema", "tesk-bench")


def _kubeconfig(folder: Path) -> Path:
    config = json.loads(_kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    token = _kubectl("-n", NAMESPACE, "create", "token", "tesk", "--duration=24h").strip()
    config["users"][0]["user"] = {"token": token}
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path
