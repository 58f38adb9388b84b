"""What an idle server costs, and how soon it is ready, beside a Starlette hello-world on uvicorn."""

import tempfile
import time
from pathlib import Path

from bench import servers
from bench.table import Figure, in_turn

IDLE_SECONDS = 20.0
IDLE_LIMIT_PERCENT = 0.5


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name:
        folder = Path(name)

        def start_ours() -> float:
            with servers.tesk(folder) as server:
                return server.start_seconds * 1000

        def start_peer() -> float:
            with servers.hello(folder) as server:
                return server.start_seconds * 1000

        started = in_turn(start_ours, start_peer, 7)
        with servers.tesk(folder) as server, servers.hello(folder) as hello:
            time.sleep(2)  # what a start leaves behind is no part of being idle
            before = server.cpu_seconds()
            time.sleep(IDLE_SECONDS)
            percent = (server.cpu_seconds() - before) / IDLE_SECONDS * 100
            ours, peer = server.memory_bytes() / 1e6, hello.memory_bytes() / 1e6
    return [
        Figure("idle server: memory", ours, peer, "MB", ours / peer, "<=", 1.6),
        Figure("start to ready", started[0], started[1], "ms", started[2], "<=", 2.0),
        Figure(
            "idle server: part of a core (peer: the limit)",
            percent,
            IDLE_LIMIT_PERCENT,
            "%",
            percent / IDLE_LIMIT_PERCENT,
            "<=",
            1.0,
        ),
    ]
