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

from cluster.faults.stage import Stage
from fakes.environment import HOUSE
from fakes.left_in_cluster import Kept
from tesk.compute.kubernetes.objects import Condition, Meta, path_of
from tesk.compute.kubernetes.refusals import AlreadyExists, NotFound

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
    with contextlib.ExitStack() as ends:
        ends.callback(lambda: stage.asked(lambda: _remove(stage, names)))
        for name in names:
            stage.asked(lambda name=name: _make(stage, name))
        # It ends first, and whatever becomes of the API server.
        ends.enter_context(_kwok(kwok, stage, folder))
        _wait_until_ready(stage, amount)
        yield names


@contextlib.contextmanager
def _kwok(program: str, stage: Stage, folder: Path) -> Iterator[None]:
    with (folder / "kwok.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                "--kubeconfig", os.environ["KUBECONFIG"],
                "--manage-nodes-with-label-selector", f"{_LABEL}={stage.server_id}",
                "--node-lease-duration-seconds", "40",
                "--config", HOUSE / "bench/fake_nodes.yaml",
                "--server-address", f"127.0.0.1:{_free_port()}",
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _make(stage: Stage, name: str) -> None:
    with contextlib.suppress(AlreadyExists):  # it was made, and the answer lost
        await stage.api.create(path_of("nodes"), _manifest(stage, name), Kept)


async def _remove(stage: Stage, names: list[str]) -> None:
    for name in names:
        with contextlib.suppress(NotFound):
            await stage.api.delete(path_of("nodes", name=name))


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
