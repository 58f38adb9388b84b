"""Nodes that only seem to be, by kwok: pods on them run for the seconds that they say, and nothing is executed."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, field

from cluster.faults.stage import Kept, Stage
from fakes.environment import HOUSE
from tesk.compute.kubernetes.objects import Condition, Meta, path_of
from tesk.compute.kubernetes.refusals import NotFound

_LABEL = "tesk.test/faults"


class _Status(Struct):
    conditions: tuple[Condition, ...] = ()


class _Node(Struct):
    metadata: Meta
    status: _Status = field(default_factory=_Status)


@contextlib.contextmanager
def fake_nodes(stage: Stage, folder: Path, amount: int) -> Iterator[list[str]]:
    """Have some for as long as the block lasts; yields their names. Skips where there is no kwok."""
    kwok = shutil.which("kwok")
    if kwok is None:
        pytest.skip("kwok is not installed, which makes nodes that only seem to be")
    names = [f"{stage.server_id}-{number}" for number in range(amount)]
    for name in names:
        stage.asked(lambda name=name: stage.api.create(path_of("nodes"), _manifest(stage, name), Kept))
    with (folder / "kwok.log").open("wb") as log:
        process = subprocess.Popen(
            [
                kwok,
                "--kubeconfig", os.environ["KUBECONFIG"],
                "--manage-nodes-with-label-selector", f"{_LABEL}={stage.server_id}",
                "--node-lease-duration-seconds", "40",
                "--config", HOUSE / "bench/fake_nodes.yaml",
                "--server-address", f"127.0.0.1:{_free_port()}",
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _wait_until_ready(stage, amount)
        yield names
    finally:
        for name in names:
            with contextlib.suppress(NotFound):
                stage.asked(lambda name=name: stage.api.delete(path_of("nodes", name=name)))
        process.terminate()
        process.wait()


def template(stage: Stage, seconds: float) -> str:
    """Return a template of pods that run there for so long."""
    return json.dumps(
        {
            "metadata": {"annotations": {"tesk.test/seconds": f"{seconds:g}"}},
            "spec": {
                "nodeSelector": {_LABEL: stage.server_id},
                "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
            },
        }
    )


def _manifest(stage: Stage, name: str) -> dict[str, Any]:
    amounts = {"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "16Ti", "pods": "5000"}
    labels = {_LABEL: stage.server_id, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": amounts, "allocatable": amounts},
    }


def _wait_until_ready(stage: Stage, amount: int) -> None:
    async def whole() -> None:
        selector = f"{_LABEL}={stage.server_id}"
        found, version = await stage.api.list(path_of("nodes"), _Node, selector=selector)
        ready = {node.metadata.name for node in found if _is_ready(node)}
        watching = stage.api.watch(path_of("nodes"), _Node, selector=selector, resource_version=version)
        async with contextlib.aclosing(watching) as events:
            while len(ready) < amount:
                event = await anext(events)
                if _is_ready(event.object):
                    ready.add(event.object.metadata.name)

    stage.run(whole(), seconds=60)


def _is_ready(node: _Node) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in node.status.conditions)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
