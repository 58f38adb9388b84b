"""Time whole commands: `tesk --version` and `tesk list` beside the interpreter that does nothing."""

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench import servers
from bench.table import Figure, in_turn

TESK = str(Path(sys.executable).with_name("tesk"))


@dataclass(frozen=True, slots=True)
class Spent:
    """What one command took; `cpu_seconds` are its own and those of the children that it waited for.

    `memory_bytes` is the most that it had resident.
    """

    seconds: float
    cpu_seconds: float
    memory_bytes: int = 0


def run(
    command: list[str], *, env: dict[str, str] | None = None, stdin: int | None = None, stdout: int | None = None
) -> Spent:
    """Run a command to its end; streams that are not given are empty. Raises RuntimeError where it ends with another code than 0."""
    with open(os.devnull, "rb+") as nothing:
        streams = (nothing.fileno() if stdin is None else stdin, nothing.fileno() if stdout is None else stdout)
        actions = [(os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(streams)]
        begun = perf_counter()
        pid = os.posix_spawnp(command[0], command, os.environ | (env or {}), file_actions=actions)
        _, status, used = os.wait4(pid, 0)
        seconds = perf_counter() - begun
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return Spent(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def measure() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name, servers.tesk(Path(name)) as server:
        env = {"TESK_SERVER": f"http://127.0.0.1:{server.port}"}
        for command, goal in (([TESK, "--version"], 3.0), ([TESK, "list"], 10.0)):
            ours, peer, ratio = in_turn(
                lambda command=command: run(command, env=env).seconds * 1000,
                lambda: run([sys.executable, "-c", "pass"]).seconds * 1000,
                15,
            )
            figures.append(Figure(f"`tesk {command[1]}`, beside `python -c pass`", ours, peer, "ms", ratio, "<=", goal))
    return figures
