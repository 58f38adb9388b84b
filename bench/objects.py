"""How quickly objects come from and go to a real S3 server (SeaweedFS), beside curl, boto3 and obstore by itself.

All files of one measurement lie in memory where there is room: a disk that writes back decides nothing then. The
program of the peers is `bench.objects_peer`; what a start costs is in both sides' times for 1 GiB, and in neither's for
the small files.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.commands import run
from bench.servers import HERE
from bench.table import Figure, in_turn

SIZE_BYTES = 1 << 30
FILES, FILE_BYTES = 1000, 64 * 1024
ROUNDS = 3
_ROOM_BYTES = 6 << 30


def measure() -> list[Figure]:
    with _folder() as folder, _server(folder) as server:
        bench = _Bench(folder, server)
        bench.upload("large", SIZE_BYTES)
        for number in range(FILES):
            server.plant(bench.bucket, f"small/{number}", os.urandom(FILE_BYTES))
        curl = in_turn(lambda: 1 / bench.large(), lambda: 1 / bench.by_curl(), ROUNDS)
        boto3 = in_turn(lambda: 1 / bench.large(), lambda: 1 / bench.peer("boto3", "large"), ROUNDS)
        into = in_turn(lambda: bench.small("inputs"), lambda: bench.peer("obstore", "in"), ROUNDS)
        out = in_turn(lambda: bench.small("outputs"), lambda: bench.peer("obstore", "out"), ROUNDS)
    note = (
        "the server shares the cores, and its work for one connection (1.3 s of a processor) is the bound; "
        "of an object that has an MD5 the sum is made afterwards, at 0.7 GiB/s"
    )
    theirs = "ten threads in parts of 8 MiB, start not counted; see above: thrice boto3 would be about twice curl, with the server already busy"
    small = "64 KiB each; ours with the MD5 (in) and CRC32 and SHA-256 (out) of each; obstore: the best of 8, 16 and 32 threads"
    most = "resident, in MB; the peer is the most that there may be"
    return [
        Figure("1 GiB in from S3, beside `curl`", *curl[:2], "GiB/s", curl[2], ">=", 1.2, note),
        Figure("1 GiB in from S3, beside boto3", *boto3[:2], "GiB/s", boto3[2], ">=", 3.0, theirs),
        Figure("1,000 files in from S3, beside obstore alone", *into[:2], "s", into[2], "<=", 1.2, small),
        Figure("1,000 files out to S3, beside obstore alone", *out[:2], "s", out[2], "<=", 1.2, small),
        Figure("memory for 1 GiB from S3", bench.memory, 100, "MB", bench.memory / 100, "<=", 1.0, most),
    ]


class _Bench:
    """One bucket that anybody may read, and the ways in and out of it."""

    def __init__(self, folder: Path, server: Any) -> None:  # noqa: ANN401  a module that is loaded by its path
        self._folder = folder
        self._server = server
        self._threads = ""
        self.bucket = server.new_bucket(writable=True)
        self.memory = 0.0

    def upload(self, key: str, size_bytes: int) -> None:
        """Store a large object by our own multipart."""
        source = self._root() / "data" / key
        source.parent.mkdir(parents=True)
        with source.open("wb") as file:
            for _ in range(size_bytes >> 20):
                file.write(os.urandom(1 << 20))
        self._stage("outputs", {"path": f"/data/{key}", "url": f"s3://{self.bucket}/{key}", "type": "FILE"})

    def large(self) -> float:
        """Bring the large object in; return the seconds, start and all."""
        self._root()
        return self._stage(
            "inputs", {"path": "/data/large", "url": f"s3://{self.bucket}/large", "type": "FILE"}, whole=True
        )

    def small(self, direction: str) -> float:
        """Move the small files; return the seconds without the start."""
        url = f"s3://{self.bucket}/small"
        if direction == "inputs":
            self._root()
            return self._stage(direction, {"path": "/data/in", "url": f"{url}/", "type": "DIRECTORY"})
        return self._stage(direction, {"path": "/data/in", "url": f"{url}-out", "type": "DIRECTORY"})

    def by_curl(self) -> float:
        """Bring the large object in by curl; return the seconds, start and all."""
        root = self._root()
        return run(["curl", "-sSf", "-o", str(root / "large"), f"{self._server.url}/{self.bucket}/large"]).seconds

    def peer(self, name: str, what: str) -> float:
        """Have another program do the same; return the seconds."""
        python = sys.executable if name == "obstore" else self._python(name)
        if name == "obstore" and not self._threads:
            self._threads = min(("8", "16", "32"), key=lambda threads: self._peer(python, name, "in", threads))
        return self._peer(python, name, what, self._threads or "8")

    def _peer(self, python: str, name: str, what: str, threads: str) -> float:
        root = self._root(keep=what == "out")
        command = [python, str(HERE / "objects_peer.py"), name, what, self._server.url, self.bucket, str(root), threads]
        said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=self._folder).stdout
        return float(said)

    def _python(self, name: str) -> str:
        made = subprocess.run([HERE.parent / "scripts/make-peer", name], check=True, capture_output=True, text=True)
        return made.stdout.strip()

    def _root(self, *, keep: bool = False) -> Path:
        root = self._folder / "root"
        if not keep:
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
        return root

    def _stage(self, direction: str, transfer: dict[str, object], *, whole: bool = False) -> float:
        """Run the stager as the program that it is."""
        job = {
            "direction": direction,
            "transfers": {"caller": "local", direction: [{"index": 0, **transfer}]},
            "root": str(self._folder / "root"),
            "owner": None,
            "settings": {
                "file_roots": [],
                "private_addresses": True,
                "s3": [{"endpoint": self._server.url, "access_key_id": "test-key", "secret_access_key": "test-secret"}],
            },
        }
        (self._folder / "job.json").write_text(json.dumps(job) + "\n")
        with (self._folder / "job.json").open("rb") as told, (self._folder / "report.json").open("wb") as said:
            spent = run([sys.executable, "-m", "tesk.stager"], stdin=told.fileno(), stdout=said.fileno())
        *_, line = (self._folder / "report.json").read_text().splitlines()
        report = json.loads(line)
        if report.get("error"):
            raise RuntimeError(report["error"])
        self.memory = max(self.memory, spent.memory_bytes / 1e6)
        return spent.seconds if whole else float(report["seconds"])


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    room = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES
    with tempfile.TemporaryDirectory(prefix="tesk-bench-", dir=memory if room else None) as name:
        yield Path(name)


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[Any]:
    """The server of the tests."""
    spec = importlib.util.spec_from_file_location("seaweed", HERE.parent / "tests/seaweed.py")
    assert spec is not None
    assert spec.loader is not None
    seaweed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seaweed)
    (folder / "weed").mkdir()
    server = seaweed.Server(folder / "weed")
    try:
        server.start()
        yield server
    finally:
        server.stop()
