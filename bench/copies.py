"""How quickly the stager brings a large file in, by file:// and by HTTP, beside `cp` and `curl`."""

import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import servers
from bench.commands import Spent, run
from bench.table import Figure, in_turn

SIZE_BYTES = 1 << 30
ROUNDS = 5


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name, _served(Path(name)) as url:
        folder = Path(name)
        source = folder / "source"
        with source.open("wb") as file:
            block = os.urandom(1 << 20)
            for _ in range(SIZE_BYTES >> 20):
                file.write(block)
        copy = ["cp", "--reflink=never", str(source), str(folder / "copy")]
        by_file = in_turn(
            lambda: 1 / _best(lambda: _stage(folder, f"file://{source}")).seconds,
            lambda: 1 / _best(lambda: _away(folder, copy)).seconds,
            ROUNDS,
        )
        ours: list[Spent] = []
        peer: list[Spent] = []

        def stage() -> float:
            ours.append(_best(lambda: _stage(folder, f"{url}/source")))
            return 1 / ours[-1].seconds

        def curl() -> float:
            command = ["curl", "-sSf", "-o", str(folder / "copy"), f"{url}/source"]
            peer.append(_best(lambda: _away(folder, command)))
            return 1 / peer[-1].seconds

        by_http = in_turn(stage, curl, ROUNDS)
        pairs = zip(ours, peer, strict=True)
        cpu = (
            statistics.median(spent.cpu_seconds for spent in ours),
            statistics.median(spent.cpu_seconds for spent in peer),
            statistics.median(first.cpu_seconds / second.cpu_seconds for first, second in pairs),
        )
    return [
        Figure(
            "1 GiB in by file:// (reflink off), beside `cp`", by_file[0], by_file[1], "GiB/s", by_file[2], ">=", 0.9
        ),
        Figure("1 GiB in by HTTP, beside `curl`", by_http[0], by_http[1], "GiB/s", by_http[2], ">=", 2.0),
        Figure("1 GiB in by HTTP: CPU, beside `curl`", cpu[0], cpu[1], "s", cpu[2], "<=", 0.5),
    ]


def _best(measured: Callable[[], Spent]) -> Spent:
    """Return the quickest of three: memory that a machine has to find first, or pages on their way to disk, cost up to five times a copy."""
    return min((measured() for _ in range(3)), key=lambda spent: spent.seconds)


def _stage(folder: Path, url: str) -> Spent:
    """Run the stager as the program that it is, on one input."""
    root = folder / "root"
    root.mkdir(exist_ok=True)
    roots = [{"path": str(folder), "write": True}]
    job = {
        "direction": "inputs",
        "transfers": {"caller": "local", "inputs": [{"index": 0, "path": "/data/source", "url": url, "type": "FILE"}]},
        "root": str(root),
        "owner": None,
        "settings": {"file_roots": roots, "file_reflink": False, "private_addresses": True},
    }
    (folder / "job.json").write_text(json.dumps(job) + "\n")
    with (folder / "job.json").open("rb") as told, (folder / "report.json").open("wb") as said:
        spent = run([sys.executable, "-m", "tesk.stager"], stdin=told.fileno(), stdout=said.fileno())
    arrived = root / "data/source"
    if not arrived.exists() or arrived.stat().st_size != SIZE_BYTES:
        raise RuntimeError(f"not whole: {(folder / 'report.json').read_text()}")
    arrived.unlink()
    return spent


def _away(folder: Path, command: list[str]) -> Spent:
    spent = run(command)
    if (folder / "copy").stat().st_size != SIZE_BYTES:
        raise RuntimeError("the copy is not whole")
    (folder / "copy").unlink()
    return spent


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve the folder from a process that is no bottleneck: it sends files with sendfile."""
    port = servers.free_port()
    command = [sys.executable, "-m", "bench.sendfile", str(port), str(folder)]
    with servers.running(command, port, "/", env={}, cwd=servers.HERE.parent, log=folder / "http.log"):
        yield f"http://127.0.0.1:{port}"
