"""`tesk serve` as a user starts it: a real process on loopback, with a data folder and settings of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ports import free_port

PROGRAM = Path(sys.executable).with_name("tesk")


class Server:
    """A server that can be started, killed and started again, always at the same address with the same data.

    Tasks may use `<folder>/files`. `settings` are variables without their `TESK_`; None: not set.
    """

    def __init__(self, folder: Path, **settings: str | None) -> None:
        if shutil.which("bwrap") is None:
            pytest.skip("bubblewrap is not installed: scripts/install-test-needs")
        self.folder = folder
        self.files = folder / "files"
        self.files.mkdir(exist_ok=True)
        self.log = folder / "server.log"
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("TESK_")}
        self._env |= {
            "TESK_CONFIG": os.devnull,
            "TESK_DATA_DIR": str(folder / "data"),
            "TESK_LOCAL_NETWORK": "off",
            "TESK_SHUTDOWN_GRACE": "0",
            "TESK_STORAGE_FILE_ROOTS": str(self.files),
        }
        for name, value in settings.items():
            self._env.pop(f"TESK_{name}", None)
            if value is not None:
                self._env[f"TESK_{name}"] = value
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start the process; see `wait_until_ready`."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [PROGRAM, "serve", "--port", str(self._port)], env=self._env, cwd=self.folder, stdout=out, stderr=out
            )

    def wait_until_ready(self) -> None:
        """Return when the server says that it can work."""
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url + "/readyz", timeout=5):
                return
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the server did not start:\n{self.log.read_text()}")

    def wait_until_logged(self, words: str) -> None:
        """Return when the server has written these words into its log."""
        end = time.monotonic() + 30
        while words not in self.log.read_text():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)  # a file tells nobody that it grew

    def wait_until_followed(self) -> None:
        """Return when somebody has a stream of events open."""
        end = time.monotonic() + 30
        while True:
            with urllib.request.urlopen(self.url + "/metrics", timeout=30) as answer:
                if b"\ntesk_event_streams 0\n" not in answer.read():
                    return
            assert time.monotonic() < end, "nobody follows events"

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(30)

    def end(self) -> None:
        """Ask it to end, and wait."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)


@contextlib.contextmanager
def running(folder: Path, **settings: str | None) -> Iterator[Server]:
    """Yield a server that is ready, and end it with the block. See `Server`."""
    server = Server(folder, **settings)
    server.start()
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.end()


@contextlib.contextmanager
def serving(folder: Path, **settings: str | None) -> Iterator[str]:
    """Yield the base URL of a server that is `running`."""
    with running(folder, **settings) as server:
        yield server.url
