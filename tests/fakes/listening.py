"""`tesk listener` as a user starts it: a real process on loopback."""

import contextlib
import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from fakes.process import PROGRAM
from ports import free_port


class ListenerProcess:
    """A listener that can be killed and started again at the same address. `settings` are variables without `TESK_LISTENER_`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "listener.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("TESK_")}
        self._env |= {"TESK_CONFIG": os.devnull, "TESK_DATA_DIR": str(folder)}
        self._env |= {f"TESK_LISTENER_{name}": value for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                [PROGRAM, "listener", "--port", str(self.port)], env=self._env, stdout=out, stderr=out
            )

    def wait_until_ready(self) -> None:
        assert self._process is not None
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the listener did not start:\n{self._log.read_text()}")

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)

    def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None):
        """Return status and body of an answer; JSON is read."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as line:
            line.request(method, path, data, {"Content-Type": "application/json"} | (headers or {}))
            answer = line.getresponse()
            said = answer.read()
            as_json = said and answer.getheader("content-type") == "application/json"
            return answer.status, json.loads(said) if as_json else said.decode()

    def subscribe(self, **more: str):
        """Make a subscription."""
        status, made = self.ask("POST", "/subscriptions", more)
        assert status == 201, made
        return made

    def wait(self, task_id: str, seconds: int = 50):
        """Wait for the end of a task by the long poll."""
        end = time.monotonic() + seconds
        while True:
            status, told = self.ask("GET", f"/tasks/{task_id}?wait=10")
            assert status == 200, told
            if told["state"] in ("COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"):
                return told
            assert time.monotonic() < end, told


@contextlib.contextmanager
def listener_process(folder: Path, **settings: str) -> Iterator[ListenerProcess]:
    """Yield a listener that is ready, and end it with the block."""
    listener = ListenerProcess(folder, **settings)
    try:
        listener.start()
        yield listener
    finally:
        listener.end()
