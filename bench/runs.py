"""What a task costs beside its bare command line: no-op tasks through `local`, eight at a time and one at a time."""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import servers, tasks
from bench.load import drive, request
from bench.outstanding import PATH, Kept, keep
from bench.spawn import spawn
from bench.table import Figure, in_turn

ROUNDS = 5
AT_ONCE = 8
AMOUNT = 400


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name:
        folder = Path(name)
        # Executors of a server that root started are somebody else, who must reach the task's folders as they lie.
        folder.chmod(0o755)
        with servers.tesk(folder, settings={"LOCAL_CPU_CORES": str(AT_ONCE + 1)}) as server:
            (folder / "data").chmod(0o711)
            bare = _command_line_of_a_sleeper(server)
            no_op = tasks.encode(tasks.bare("true"))

            def ours(at_once: int, amount: int) -> Kept:
                return keep(server.port, at_once, amount, no_op)

            def peer(at_once: int, amount: int, fsyncs: int) -> Kept:
                order = {"at_once": at_once, "amount": amount, "fsyncs": fsyncs, "folder": name}
                return spawn(bare | order)

            many = in_turn(lambda: ours(AT_ONCE, AMOUNT).rate, lambda: peer(AT_ONCE, AMOUNT, 0).rate, ROUNDS)
            one = in_turn(
                lambda: ours(1, 60).median_seconds * 1000, lambda: peer(1, 60, 2).median_seconds * 1000, ROUNDS
            )
    return [
        Figure("no-op tasks through `local`, 8 at a time, beside bare `bwrap ... true`", *_rate(many), ">=", 0.7),
        Figure(
            "one no-op task, POST to COMPLETE, beside bare `bwrap` and two fsyncs",
            one[0],
            one[1],
            "ms",
            one[2],
            "<=",
            2.0,
        ),
    ]


def _rate(measured: tuple[float, float, float]) -> tuple[float, float, str, float]:
    return measured[0], measured[1], "/s", measured[2]


def _command_line_of_a_sleeper(server: servers.Server) -> dict[str, Any]:
    """Run a task that sleeps, read the command line that its sandbox was really started with, and put `true` in its place."""
    body = tasks.encode(tasks.bare("sleep", "3600"))
    drive(server.port, request("POST", PATH, server.port, body), connections=1, seconds=0)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for pid in servers.tree(server.pid):
            process = Path(f"/proc/{pid}")
            words = process.joinpath("cmdline").read_text().split("\0")[:-1]
            if words[:1] == ["bwrap"] and words[-2:] == ["sleep", "3600"]:
                status = process.joinpath("status").read_text()
                ids = {
                    line.split()[0]: int(line.split()[1])
                    for line in status.splitlines()
                    if line[:4] in ("Uid:", "Gid:")
                }
                return {"command": _without_descriptors(words), "uid": ids["Uid:"], "gid": ids["Gid:"]}
        time.sleep(0.05)
    raise RuntimeError("no sandbox was seen")


def _without_descriptors(words: list[str]) -> list[str]:
    program = shutil.which("bwrap")
    assert program is not None
    kept = [program]
    skip = 0
    for word in words[1:-2]:
        if skip:
            skip -= 1
        elif word in ("--seccomp", "--args", "--json-status-fd"):
            skip = 1
        else:
            kept.append(word)
    return [*kept, "true"]
