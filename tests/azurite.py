"""Azure's Blob storage as Microsoft's own emulator does it, from its package, on a port of its own, in memory."""

import atexit
import base64
import functools
import hmac
import http.client
import os
import subprocess
import threading
import time
from itertools import count
from pathlib import Path

from ports import free_port
from seaweed import DIES_WITH_US, START_SECONDS, Missing

ROOT = Path(__file__).parent.parent
ACCOUNT = "devstoreaccount1"
KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # public, in its manual
)
_UNREACHABLE = 75


class Azurite:
    """One server. `url` is the endpoint of its one account."""

    def __init__(self) -> None:
        made = subprocess.run([ROOT / "scripts/make-azurite"], check=False, capture_output=True, text=True)
        if made.returncode == _UNREACHABLE:
            raise Missing("azurite cannot be had here: there is no npm, or it cannot reach its registry")
        if made.returncode:
            raise RuntimeError(f"scripts/make-azurite: {made.stderr}")
        self._port = free_port()
        self._numbers = count(1)
        self.url = f"http://127.0.0.1:{self._port}/{ACCOUNT}"
        arguments = f"--blobHost 127.0.0.1 --blobPort {self._port} --inMemoryPersistence --silent --skipApiVersionCheck --disableTelemetry"
        self._process = subprocess.Popen(
            [*DIES_WITH_US, made.stdout.strip(), *arguments.split()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"]},
        )

    def wait(self) -> None:
        """Return when it answers."""
        waited = threading.Event()
        for _ in range(START_SECONDS * 10):
            try:
                self.new_container()
                return
            except OSError:
                if self._process.poll() is not None:
                    break
            waited.wait(0.1)
        raise Missing("azurite does not start")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def new_container(self) -> str:
        """Make an empty container and return its name."""
        name = f"container{next(self._numbers)}"
        self.ask("PUT", name, query={"restype": "container"})
        return name

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes | None:
        """Ask in its own words, signed with the shared key; None where there is no such thing. `path` is encoded."""
        asked = query or {}
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        own = {"x-ms-date": date, "x-ms-version": "2021-08-06", **(headers or {})}
        length = str(len(body)) if body else ""
        lines = [method, "", "", length, *[""] * 8, *(f"{name}:{own[name]}" for name in sorted(own))]
        lines += [f"/{ACCOUNT}/{ACCOUNT}/{path}", *(f"{name}:{asked[name]}" for name in sorted(asked))]
        signature = hmac.digest(base64.b64decode(KEY), "\n".join(lines).encode(), "sha256")
        own["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(signature).decode()}"
        line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=START_SECONDS)
        try:
            words = "&".join(f"{name}={value}" for name, value in asked.items())
            line.request(method, f"/{ACCOUNT}/{path}{'?' * bool(words)}{words}", body, own)
            answer = line.getresponse()
            said = answer.read()
            if answer.status == 404:
                return None
            if answer.status >= 300:
                raise RuntimeError(f"azurite answers {answer.status}: {said[:500]!r}")
            return said
        finally:
            line.close()


@functools.cache
def shared() -> Azurite:
    """Return the one server of this run, started when the first test wants it. Raises Missing."""
    server = Azurite()
    atexit.register(server.stop)
    server.wait()
    return server
