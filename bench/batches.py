"""Ten thousand tasks in one request: beside the same tasks sent one by one, and what a task that comes alone has of it."""

import http.client
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from bench import servers, tasks
from bench.load import Load, drive, request
from bench.submissions import PATH, busy
from bench.table import Figure, in_turn

TASKS = 10_000
ROUNDS = 3
LINES = {"Content-Type": "application/x-ndjson"}


def measure() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name:
        folder = Path(name)
        figures += _over("SQLite", folder / "sqlite", "")
        with servers.postgres() as url:
            figures += _over("PostgreSQL", folder / "postgres", f"{url}/served")
    return figures


def _over(kind: str, folder: Path, database: str) -> list[Figure]:
    folder.mkdir()
    one = tasks.encode(tasks.usual())
    many = b"\n".join([one] * TASKS)
    with busy(folder, database) as server:
        single = request("POST", PATH, server.port, one)
        rates = in_turn(lambda: _batch(server, many), lambda: drive(server.port, single).rate, ROUNDS)
        alone = lambda: drive(server.port, single, connections=1, seconds=4)  # noqa: E731  a name for what is measured
        last = in_turn(
            lambda: _beside(lambda: _batch(server, many), alone).last_percent_ms,
            lambda: _beside(lambda: drive(server.port, single, seconds=1), alone).last_percent_ms,
            ROUNDS,
        )
    return [
        Figure(f"tasks by a batch of 10,000, {kind}, beside 64 clients", rates[0], rates[1], "/s", rates[2], ">=", 3.0),
        Figure(
            f"p99 of one client beside batches, {kind}, as beside 64 clients",
            last[0],
            last[1],
            "ms",
            last[2],
            "<=",
            5.0,
        ),
    ]


def _batch(server: servers.Server, body: bytes) -> float:
    """Send one batch; return tasks per second."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        begun = time.perf_counter()
        connection.request("POST", "/tesk/v1/tasks:batch", body, LINES)
        answer = connection.getresponse()
        said = answer.read()
        spent = time.perf_counter() - begun
    if answer.status != 200 or said.count(b'"id"') != TASKS:
        raise RuntimeError(f"a batch was answered {answer.status}: {said[:200]!r}")
    return TASKS / spent


def _beside(load: Callable[[], object], measured: Callable[[], Load]) -> Load:
    """Measure while a load goes on and on."""
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            load()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        return measured()
    finally:
        over.set()
        thread.join()
