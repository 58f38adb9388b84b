"""Callbacks: how many and how soon, beside a loop that POSTs the same bodies and records nothing; what they cost a submission."""

import contextlib
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from bench import servers, tasks
from bench.load import drive, request
from bench.submissions import PATH, busy
from bench.table import Figure, in_turn

ROUNDS = 5
MANY = 10_000
PACED = 3_000


def measure() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name, hook(Path(name)) as listener:
        folder, url = Path(name), f"http://127.0.0.1:{listener.port}/hook"
        numbers = count()
        figures += _sent("SQLite", lambda: str(folder / f"{next(numbers)}.db"), url)
        figures.append(_submitted("SQLite", folder / "sqlite", "", url))
        with servers.postgres() as databases:
            figures += _sent("PostgreSQL", lambda: f"{databases}/fed", url)
            figures.append(_submitted("PostgreSQL", folder / "postgres", f"{databases}/served", url))
    return figures


def _sent(kind: str, database: Callable[[], str], url: str) -> list[Figure]:  # one that is new, or empty
    def both(what: str, many: int) -> tuple[float, float, float]:
        return in_turn(lambda: tell(database(), url, what, many), lambda: tell("", url, what, many), ROUNDS)

    sent, late = both("rate", MANY), both("pace", PACED)
    return [
        Figure(f"callbacks sent, signed and recorded, {kind}, beside a bare aiohttp loop", *sent[:2], "/s", sent[2], ">=", 0.6),
        Figure(
            f"durable to received at 1,000 moves/s, last percent, {kind}, beside a bare aiohttp loop",
            *late[:2], "ms", late[2], "<=", 10.0,
        ),
    ]  # fmt: skip


def _submitted(kind: str, folder: Path, database: str, url: str) -> Figure:
    folder.mkdir()
    plain = tasks.usual()
    with busy(folder, database) as server:
        told = request("POST", PATH, server.port, tasks.encode({**plain, "callback_url": url}))
        untold = request("POST", PATH, server.port, tasks.encode(plain))

        def with_callback() -> float:
            rate = drive(server.port, told).rate
            until_told(server)  # what is left would be the next one's burden
            return rate

        rates = in_turn(with_callback, lambda: drive(server.port, untold).rate, ROUNDS)
    return Figure(f"durable POST /tasks with a callback, {kind}, beside without", *rates[:2], "/s", rates[2], ">=", 0.9)


def until_told(server: servers.Server) -> None:
    """Return when nothing waits to be told any more."""
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as answer:
            if b"tesk_callbacks_pending 0\n" in answer.read():
                return
        time.sleep(0.2)


@contextlib.contextmanager
def hook(folder: Path) -> Iterator[servers.Server]:
    """A listener that costs little."""
    port = servers.free_port()
    command = [sys.executable, "-m", "bench.hook", str(port)]
    with servers.running(command, port, "/", env={}, cwd=Path.cwd(), log=folder / "hook.log") as server:
        yield server


def tell(database: str, url: str, what: str, many: int) -> float:
    """Tell from a process of its own; return what it says."""
    command = [sys.executable, "-m", "bench.tell", database, url, what, str(many)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
