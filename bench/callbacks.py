"""Callbacks: how many and how soon, beside a loop that POSTs the same bodies and records nothing; what they cost a submission."""

import contextlib
import json
import subprocess
import sys
import tempfile
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
    sent = in_turn(
        lambda: float(tell(database(), url, "rate", MANY)), lambda: float(tell("", url, "rate", MANY)), ROUNDS
    )
    late = in_turn(lambda: lateness(database(), url), lambda: lateness("", url), ROUNDS)
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
        rates = in_turn(lambda: drive(server.port, told).rate, lambda: drive(server.port, untold).rate, ROUNDS)
    return Figure(f"durable POST /tasks with a callback, {kind}, beside without", *rates[:2], "/s", rates[2], ">=", 0.9)


@contextlib.contextmanager
def hook(folder: Path) -> Iterator[servers.Server]:
    """A listener that costs little."""
    port = servers.free_port()
    command = [sys.executable, "-m", "bench.hook", str(port)]
    with servers.running(command, port, "/", env={}, cwd=Path.cwd(), log=folder / "hook.log") as server:
        yield server


def lateness(database: str, url: str) -> float:
    """Return the milliseconds within which 99 of 100 moves had come, 1,000 a second."""
    came(url)
    begun = json.loads(tell(database, url, "pace", PACED))
    heard = came(url)
    late = sorted(heard[webhook_id] - moment for webhook_id, moment in begun.items())
    return late[len(late) * 99 // 100] * 1e3


def came(url: str) -> dict[str, float]:
    """Return when each came to the listener since the last time."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        found: dict[str, float] = json.loads(answer.read())
    return found


def tell(database: str, url: str, what: str, many: int) -> str:
    """Tell from a process of its own; return what it prints."""
    command = [sys.executable, "-m", "bench.tell", database, url, what, str(many)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
