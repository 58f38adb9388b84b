"""The listener: callbacks taken, durable, and what 10,000 who wait cost; beside a bare Starlette that does nothing with them."""

import contextlib
import resource
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench import servers
from bench.post import KEY
from bench.streams import Held, bare, following
from bench.table import Figure, in_turn

ROUNDS = 5
MANY = 20_000
WAITING = 10_000
WAITING_ROUNDS = 7


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name:
        folder = Path(name)
        return [*taken(folder), *waited(folder)]


def taken(folder: Path) -> list[Figure]:
    with _bare(folder) as peer, _listener(folder / "taken", LISTENER_KEYS=KEY) as ours:
        rates = in_turn(lambda: _post(ours), lambda: _post(peer), ROUNDS)
    name = "signed callbacks taken, durable, SQLite, beside a bare Starlette that answers 204"
    return [Figure(name, *rates[:2], "/s", rates[2], ">=", 0.6)]


def waited(folder: Path) -> list[Figure]:
    many = min(WAITING, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2)
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(_listener(folder / "waited", LISTENER_PLAIN="true"))
        ours = opened.enter_context(following(server, "/events", many, "/webhook", b""))
        peer = opened.enter_context(following(opened.enter_context(bare(folder)), "/events", many, "/events", b"{}"))
        pairs = [(_move(ours, number).last_told_ms(), peer.last_told_ms()) for number in range(WAITING_ROUNDS)]
        memory = [each.server.memory_bytes() / 1e6 for each in (ours, peer)]
    late = [statistics.median(each) for each in zip(*pairs, strict=True)]
    ratio = statistics.median(first / second for first, second in pairs)
    name = f"{many:,} who wait at the listener"
    return [
        Figure(f"{name}: memory, beside a bare Starlette", *memory, "MB", memory[0] / memory[1], "<=", 2.0),
        Figure(f"{name}: callback to the last one told, beside the same", *late, "ms", ratio, "<=", 2.0),
    ]


def _move(ours: Held, number: int) -> Held:
    """Have another move told: the same again is no news."""
    body = b'{"id":"task","state":"RUNNING","sequence":%d}' % (number + 1)
    return replace(ours, post=urllib.request.Request(ours.post.full_url, data=body, method="POST"))


@contextlib.contextmanager
def _listener(folder: Path, **settings: str) -> Iterator[servers.Server]:
    folder.mkdir(parents=True)
    port = servers.free_port()
    env = {"TESK_DATA_DIR": str(folder), "TESK_LISTENER_PORT": str(port)}
    env |= {f"TESK_{name}": value for name, value in settings.items()}
    command = [str(Path(sys.executable).with_name("tesk")), "listener"]
    with servers.running(command, port, "/livez", env=env, cwd=folder, log=folder / "listener.log") as server:
        yield server


@contextlib.contextmanager
def _bare(folder: Path) -> Iterator[servers.Server]:
    port = servers.free_port()
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--log-level", "warning", "--no-access-log"]
    command.append("bench.bare_callbacks:app")
    with servers.running(command, port, "/", env={}, cwd=Path.cwd(), log=folder / "bare.log") as server:
        yield server


def _post(server: servers.Server) -> float:
    """Post callbacks of new tasks from a process of its own; return how many a second."""
    command = [sys.executable, "-m", "bench.post", str(server.port), str(MANY)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
