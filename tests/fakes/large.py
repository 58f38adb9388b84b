"""One large file over HTTP into a task's folder, by the stager as the program that it is, and the memory that it takes.

The bytes are zeros that take no place on the server's side.
"""

import subprocess
import sys
from pathlib import Path

from msgspec import json

from fakes.web import Files, serve
from tesk.settings import StorageSettings
from tesk.stager.job import Job
from tesk.transfer import Fetch, TransferList, TransferReport

_PROGRAM = """
import re, sys
from pathlib import Path
from tesk.stager.__main__ import main
code = main()
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], file=sys.stderr)
sys.exit(code)
"""
_BLOCK = bytes(1024 * 1024)


class Zeros(Files):
    """Sends as many zeros as the path says."""

    def answer(self, *, head: bool = False) -> None:
        size = int(self.path.strip("/"))
        first, last = self.wanted(size)
        self.send_response(206 if (first, last) != (0, size - 1) else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", self.tag)
        if (first, last) != (0, size - 1):
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        left = 0 if head else last - first + 1
        while left:
            self.wfile.write(_BLOCK[:left])
            left -= min(left, len(_BLOCK))

    def wanted(self, size: int) -> tuple[int, int]:
        """The first and the last byte that are asked for."""
        begin, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        return int(begin), int(end) if end else size - 1


def bring_in(area: Path, size_bytes: int) -> int:
    """Bring so much in, as a hole of the disk's where it can be, and return the most memory that it took, in bytes."""
    (area / "root").mkdir(parents=True)
    with serve(Zeros) as web:
        job = Job(
            direction="inputs",
            transfers=TransferList(caller="me", inputs=(Fetch(index=0, path="/in", url=f"{web.url}/{size_bytes}"),)),
            root=str(area / "root"),
            owner=None,
            settings=StorageSettings(file_roots=(), private_addresses=True),
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", _PROGRAM], input=json.encode(job) + b"\n", capture_output=True, check=True
        )
    report = json.decode(done.stdout.splitlines()[-1], type=TransferReport)
    assert report.error is None, report.error
    assert report.size_bytes == size_bytes
    (area / "root/in").unlink()
    return int(done.stderr.split()[0]) * 1024
