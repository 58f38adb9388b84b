"""What the stager takes, as the program that it is: to its first byte, and while it moves 10 GB."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench import servers
from bench.commands import run
from bench.table import Figure

SMALL_BYTES = 1
LARGE_BYTES = 10 * 1000**3
STARTS = 15
START_LIMIT_MS = 120.0
SMALL_LIMIT_MB = 40.0
LARGE_LIMIT_MB = 100.0

# What the kernel says at the end (`ru_maxrss`) counts what started it, too.
_PROGRAM = """
import re, sys
from pathlib import Path
from tesk.stager.__main__ import main
code = main()
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], file=sys.stderr)
sys.exit(code)
"""


class _Job(NamedTuple):
    told: Path
    arrived: Path
    size_bytes: int


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name:
        folder = Path(name)
        served = folder / "served"
        served.mkdir()
        for size in (SMALL_BYTES, LARGE_BYTES):
            with (served / str(size)).open("wb") as file:
                file.truncate(size)
        port = servers.free_port()
        command = [sys.executable, "-m", "bench.sendfile", str(port), str(served)]
        with servers.running(command, port, "/", env={}, cwd=servers.HERE.parent, log=folder / "http.log"):
            web = f"http://127.0.0.1:{port}"
            starts = {
                "file://": _job(folder, f"file://{served}/{SMALL_BYTES}", SMALL_BYTES),
                "HTTP": _job(folder, f"{web}/{SMALL_BYTES}", SMALL_BYTES),
            }
            figures = [
                _below(
                    f"stager: from its start to the end of 1 byte by {name} (peer: the limit)",
                    _start_ms(job),
                    "ms",
                    START_LIMIT_MS,
                )
                for name, job in starts.items()
            ]
            small = _memory_mb(starts["HTTP"])
            large = _memory_mb(_job(folder, f"{web}/{LARGE_BYTES}", LARGE_BYTES))
    figures.append(_below("stager: memory for 1 byte by HTTP (peer: the limit)", small, "MB", SMALL_LIMIT_MB))
    figures.append(_below("stager: memory for 10 GB by HTTP (peer: the limit)", large, "MB", LARGE_LIMIT_MB))
    return figures


def _below(what: str, ours: float, unit: str, limit: float) -> Figure:
    return Figure(what, ours, limit, unit, ours / limit, "<=", 1.0)


def _job(folder: Path, url: str, size_bytes: int) -> _Job:
    """A job that is told from a file, and where its one input arrives."""
    root = folder / "root"
    root.mkdir(exist_ok=True)
    job = {
        "direction": "inputs",
        "transfers": {"caller": "local", "inputs": [{"index": 0, "path": "/data/in", "url": url, "type": "FILE"}]},
        "root": str(root),
        "owner": None,
        "settings": {"file_roots": [{"path": str(folder), "write": True}], "private_addresses": True},
    }
    told = folder / f"{url.partition(':')[0]}-{size_bytes}.json"
    told.write_text(json.dumps(job) + "\n")
    return _Job(told, root / "data/in", size_bytes)


def _start_ms(job: _Job) -> float:
    spent = []
    for _ in range(STARTS):
        with job.told.open("rb") as told:
            spent.append(run([sys.executable, "-P", "-m", "tesk.stager"], stdin=told.fileno()).seconds * 1000)
        _check(job)
    return min(spent)  # whatever else a machine does only adds to it


def _memory_mb(job: _Job) -> float:
    with job.told.open("rb") as told:
        done = subprocess.run([sys.executable, "-P", "-c", _PROGRAM], stdin=told, capture_output=True, check=True)
    _check(job)
    return int(done.stderr.split()[0]) * 1024 / 1e6


def _check(job: _Job) -> None:
    if not job.arrived.exists() or job.arrived.stat().st_size != job.size_bytes:
        raise RuntimeError(f"{job.told.name}: not whole")
    os.unlink(job.arrived)
