"""The bare loop: one command line kept so many times at once by posix_spawn, as the user that is given.

Reads a JSON object on standard input (command, uid, gid, at_once, amount, fsyncs, folder) and prints commands per second and
the median seconds of one, with so many fsyncs of a small file after each.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.outstanding import Kept


def spawn(order: dict[str, Any]) -> Kept:
    """Run the loop in another process."""
    command = [sys.executable, "-m", "bench.spawn"]
    done = subprocess.run(command, input=json.dumps(order), stdout=subprocess.PIPE, text=True, check=True)
    return Kept(**json.loads(done.stdout))


def _loop(order: dict[str, Any], small: int) -> Kept:
    command, left = order["command"], order["amount"]
    under_way: dict[int, float] = {}
    spent = []
    nothing = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, nothing, number) for number in (0, 1, 2)]
    begun = time.perf_counter()
    while left or under_way:
        while left and len(under_way) < order["at_once"]:
            now = time.perf_counter()
            under_way[os.posix_spawn(command[0], command, {}, file_actions=actions, setsid=True)] = now
            left -= 1
        pid, status = os.wait()
        if status:
            raise SystemExit(f"the bare command ended with {os.waitstatus_to_exitcode(status)}")
        for _ in range(order["fsyncs"]):
            os.pwrite(small, b"x" * 4096, 0)
            os.fsync(small)
        spent.append(time.perf_counter() - under_way.pop(pid))
    return Kept(order["amount"] / (time.perf_counter() - begun), statistics.median(spent))


if __name__ == "__main__":
    given = json.load(sys.stdin)
    file = os.open(Path(given["folder"]) / "small", os.O_RDWR | os.O_CREAT, 0o600)
    if os.getuid() == 0 and given["uid"]:
        os.setgroups([])
        os.setgid(given["gid"])
        os.setuid(given["uid"])
    kept = _loop(given, file)
    print(json.dumps({"rate": kept.rate, "median_seconds": kept.median_seconds}))
