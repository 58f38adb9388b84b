"""Streams of events: what ten thousand cost, and when the last of them is told, beside a bare Starlette that holds as many."""

import contextlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import servers, tasks
from bench.submissions import PATH, busy
from bench.table import Figure

MANY = 10_000
ROUNDS = 7
_CLIENTS = 2


@dataclass(frozen=True, slots=True)
class Held:
    """A server with its followers, and how to make an event."""

    server: servers.Server
    clients: list[subprocess.Popen[str]]
    post: urllib.request.Request

    def last_told_ms(self) -> float:
        """Make one event; return how long it takes until the last follower has it."""
        for client in self.clients:
            _stdin(client, "next")
        begun = time.monotonic()
        with urllib.request.urlopen(self.post, timeout=60) as answer:
            answer.read()
        return (max(float(_line(client)) for client in self.clients) - begun) * 1000


def measure() -> list[Figure]:
    # Each client and the server hold a part of them; the server has other files, too.
    many = min(MANY, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2)
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name, contextlib.ExitStack() as opened:
        folder = Path(name)
        server = opened.enter_context(busy(folder))
        # What is submitted waits, so there is one event for each.
        ours = opened.enter_context(
            following(server, "/tesk/v1/events?state=QUEUED", many, PATH, tasks.encode(tasks.usual()))
        )
        peer = opened.enter_context(following(opened.enter_context(bare(folder)), "/events", many, "/events", b"{}"))
        pairs = [(ours.last_told_ms(), peer.last_told_ms()) for _ in range(ROUNDS)]
        memory = [held.server.memory_bytes() / 1e6 for held in (ours, peer)]
    late = [statistics.median(each) for each in zip(*pairs, strict=True)]
    ratio = statistics.median(first / second for first, second in pairs)
    held = f"{many:,} streams of events"
    note = "" if many == MANY else f"{many:,}, as many as the limit of open files allows"
    return [
        Figure(
            f"{held}: memory, beside a bare Starlette",
            memory[0],
            memory[1],
            "MB",
            memory[0] / memory[1],
            "<=",
            2.0,
            note,
        ),
        Figure(f"{held}: POST to the last one told, beside the same", late[0], late[1], "ms", ratio, "<=", 2.0, note),
    ]


@contextlib.contextmanager
def following(server: servers.Server, target: str, many: int, path: str, body: bytes) -> Iterator[Held]:
    command = [sys.executable, "-m", "bench.followers", str(server.port), target, str(many // _CLIENTS)]
    with contextlib.ExitStack() as opened:
        clients = []
        for _ in range(_CLIENTS):
            client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            opened.callback(client.wait)
            opened.callback(client.kill)
            clients.append(client)
        for client in clients:
            _line(client)
        post = urllib.request.Request(
            f"http://127.0.0.1:{server.port}{path}", data=body, headers={"Content-Type": "application/json"}
        )
        yield Held(server, clients, post)


@contextlib.contextmanager
def bare(folder: Path) -> Iterator[servers.Server]:
    port = servers.free_port()
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--log-level", "warning", "--no-access-log"]
    with servers.running(
        [*command, "bench.bare_streams:app"], port, "/", env={}, cwd=Path.cwd(), log=folder / "bare.log"
    ) as server:
        yield server


def _stdin(client: subprocess.Popen[str], line: str) -> None:
    assert client.stdin is not None
    client.stdin.write(f"{line}\n")
    client.stdin.flush()


def _line(client: subprocess.Popen[str]) -> str:
    assert client.stdout is not None
    line = client.stdout.readline()
    if not line:
        raise RuntimeError("those who follow ended")
    return line
