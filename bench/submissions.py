"""Durable submissions over HTTP: beside a FOCA server that stores nothing, and beside our own store without HTTP."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import servers, tasks
from bench.load import drive, request
from bench.table import Figure, in_turn

ROUNDS = 5
PATH = "/ga4gh/tes/v1/tasks"


def measure() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name:
        folder = Path(name)
        example = folder / "task.json"
        example.write_text(json.dumps(tasks.usual()))
        with servers.foca(folder, example) as foca:
            figures += _over("SQLite", folder / "sqlite", foca, "", "")
            with servers.postgres() as url:
                figures += _over("PostgreSQL", folder / "postgres", foca, f"{url}/served", f"{url}/fed")
    return figures


def _over(kind: str, folder: Path, foca: servers.Server, database: str, other: str) -> list[Figure]:
    folder.mkdir()
    body = tasks.encode(tasks.usual())
    with busy(folder, database) as server:
        ours = request("POST", PATH, server.port, body)
        theirs = request("POST", PATH, foca.port, body)
        beside_foca = in_turn(lambda: drive(server.port, ours).rate, lambda: drive(foca.port, theirs).rate, ROUNDS)
        beside_store = in_turn(
            lambda: drive(server.port, ours).rate, lambda: feed(other or str(folder / "fed.db"), "rate", 3), ROUNDS
        )
    return [
        Figure(f"durable POST /tasks, {kind}, beside FOCA without a store", *_parts(beside_foca), ">=", 8.0),
        Figure(f"durable POST /tasks, {kind}, beside the store without HTTP", *_parts(beside_store), ">=", 0.7),
    ]


def _parts(measured: tuple[float, float, float]) -> tuple[float, float, str, float]:
    return measured[0], measured[1], "/s", measured[2]


@contextlib.contextmanager
def busy(folder: Path, database: str = "") -> Iterator[servers.Server]:
    """Our server with its one core taken by a task that sleeps, so that what is submitted waits in QUEUED."""
    settings = {"LOCAL_CPU_CORES": "1", "SERVER_PENDING_LIMIT": "100000"}
    with servers.tesk(folder, database=database, settings=settings) as server:
        body = tasks.encode(tasks.bare("sleep", "3600"))
        drive(server.port, request("POST", PATH, server.port, body), connections=1, seconds=0)
        yield server


def feed(database: str, what: str, amount: int) -> float:
    """Feed a store from 64 coroutines of another process; return tasks per second."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.feed", database, what, str(amount)], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)
