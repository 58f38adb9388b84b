"""How quickly the stager brings a large file in, by file:// and by HTTP, beside `cp` and `curl`."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import servers
from bench.commands import Spent, run
from bench.table import Figure, in_turn

SIZE_BYTES = 1 << 30


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tesk-bench-") as name, _served(Path(name)) as url:
        folder = Path(name)
        source = folder / "source"
        with source.open("wb") as file:
            block = os.urandom(1 << 20)
            for _ in range(SIZE_BYTES >> 20):
                file.write(block)
        by_file = in_turn(
            lambda: 1 / _stage(folder, f"file://{source}").seconds,
            lambda: 1 / _away(folder, ["cp", "--reflink=never", str(source), str(folder / "copy")]).seconds,
            7,
        )
        ours: list[Spent] = []
        peer: list[Spent] = []

        def stage() -> float:
            ours.append(_stage(folder, f"{url}/source"))
            return 1 / ours[-1].seconds

        def curl() -> float:
            peer.append(_away(folder, ["curl", "-sSf", "-o", str(folder / "copy"), f"{url}/source"]))
            return 1 / peer[-1].seconds

        by_http = in_turn(stage, curl, 7)
        cpu = in_turn(
            iter([spent.cpu_seconds for spent in ours]).__next__,
            iter([spent.cpu_seconds for spent in peer]).__next__,
            7,
        )
    return [
        Figure(
            "1 GiB in by file:// (reflink off), beside `cp`", by_file[0], by_file[1], "GiB/s", by_file[2], ">=", 0.9
        ),
        Figure("1 GiB in by HTTP, beside `curl`", by_http[0], by_http[1], "GiB/s", by_http[2], ">=", 2.0),
        Figure("1 GiB in by HTTP: CPU, beside `curl`", cpu[0], cpu[1], "s", cpu[2], "<=", 0.5),
    ]


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
