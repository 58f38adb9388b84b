"""A real S3 server of the tests' own: SeaweedFS, from its package, on a folder and ports of its own."""

import atexit
import functools
import http.client
import json
import os
import shutil
import subprocess
import tempfile
import threading
from itertools import count
from pathlib import Path
from urllib.parse import quote

from ports import free_port

ROOT = Path(__file__).parent.parent
START_SECONDS = 60
ACCESS_KEY, SECRET_KEY = "test-key", "test-secret"
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""Before a command: whatever ends a run of the tests, be it `kill -9`, ends its servers. To be begun by a thread that stays."""
_UNREACHABLE = 75


class Missing(Exception):
    """There is no such server to start; the message says why."""


def environment(name: str) -> Path:
    """Return the folder of programs of an environment that scripts/make-peer makes. Raises Missing where no index is reached."""
    made = subprocess.run([ROOT / "scripts/make-peer", name], check=False, capture_output=True, text=True)
    if made.returncode == _UNREACHABLE:
        raise Missing(f"the package index cannot be reached for the environment {name}")
    if made.returncode:
        raise RuntimeError(f"scripts/make-peer {name}: {made.stderr}")
    return Path(made.stdout.strip()).parent


class Server:
    """One server. `url` is where it speaks S3, at `address`; anonymous may read `public` buckets, and write `open` ones."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self.folder = folder
        self._address = address
        self._program = environment("object-stores") / "weed"
        self._ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
        self._inner = {name: free_port() for name in self._ports}
        self._numbers = count(1)
        self.url = f"http://{address}:{self._ports['s3']}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when it answers."""
        admin = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        anyone = {
            "name": "anonymous",
            "actions": ["Read:public*", "List:public*", "Read:open*", "List:open*", "Write:open*"],
        }
        (self.folder / "s3.json").write_text(json.dumps({"identities": [admin, anyone]}))
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        ports += [f"-{name}.port.grpc={port}" for name, port in self._inner.items()]
        (self.folder / "data").mkdir(exist_ok=True)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *DIES_WITH_US, self._program, "-logtostderr=true", "server", "-filer", "-s3", *ports,
                    "-dir=data", "-s3.config=s3.json", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                    f"-s3.ip.bind={self._address}",
                    "-s3.domainName=s3.test", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false",
                    "-master.telemetry=false", "-master.volumeSizeLimitMB=1024", "-volume.max=1000",
                ],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            )  # fmt: skip
        # It says on none of its lines that all of it is ready; that a bucket can be made says so.
        waited = threading.Event()
        for _ in range(START_SECONDS * 10):
            if self.process.poll() is not None:
                break
            try:
                if self._ask("PUT", "filer", "/buckets/ready/ready", b"1") == 201 and self._ask("GET", "s3", "/") in {
                    200,
                    403,
                }:
                    return
            except OSError:
                pass
            waited.wait(0.1)
        raise Missing(f"SeaweedFS does not start: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """Kill it: nobody wants its data again."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def new_bucket(self, *, public: bool = False, writable: bool = False) -> str:
        """Make an empty bucket, which anybody may read or write, and return its name."""
        name = f"{'open' if writable else 'public' if public else 'test'}-{next(self._numbers)}"
        if self._ask("POST", "filer", f"/buckets/{name}/") != 201:
            raise RuntimeError("no bucket can be made")
        return name

    def plant(self, bucket: str, key: str, data: bytes) -> None:
        """Put an object there, past S3."""
        if self._ask("PUT", "filer", f"/buckets/{bucket}/{quote(key)}", data) != 201:
            raise RuntimeError(f"{key!r} cannot be planted")

    def stored(self, bucket: str, key: str) -> bytes | None:
        """Read an object, past S3."""
        line = http.client.HTTPConnection("127.0.0.1", self._ports["filer"], timeout=START_SECONDS)
        try:
            line.request("GET", f"/buckets/{bucket}/{quote(key)}")
            answer = line.getresponse()
            body = answer.read()
            return body if answer.status == 200 else None
        finally:
            line.close()

    def _ask(self, method: str, part: str, path: str, body: bytes = b"") -> int:
        address = self._address if part == "s3" else "127.0.0.1"
        line = http.client.HTTPConnection(address, self._ports[part], timeout=START_SECONDS)
        try:
            line.request(method, path, body)
            answer = line.getresponse()
            answer.read()
            return answer.status
        finally:
            line.close()


@functools.cache
def shared() -> Server:
    """Return the one server of this run, started when the first test wants it. Raises Missing."""
    folder = Path(tempfile.mkdtemp(prefix="tesk-weed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = Server(folder)
    atexit.register(server.stop)
    server.start()
    return server
