"""`tesk serve` as a user starts it: a real process on loopback, with a data folder and settings of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("tesk")


@contextlib.contextmanager
def serving(folder: Path, **settings: str) -> Iterator[str]:
    """Yield the base URL of a server until the block ends. Tasks may use `<folder>/files`.

    `settings` are variables without their `TESK_`. Skips the test where there is no bubblewrap.
    """
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: scripts/install-test-needs")
    files = folder / "files"
    files.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("TESK_")}
    env |= {
        "TESK_CONFIG": os.devnull,
        "TESK_DATA_DIR": str(folder / "data"),
        "TESK_LOCAL_NETWORK": "off",
        "TESK_SHUTDOWN_GRACE": "0",
        "TESK_STORAGE_FILE_ROOTS": str(files),
    }
    env |= {f"TESK_{name}": value for name, value in settings.items()}
    log = folder / "server.log"
    with log.open("ab") as out:
        process = subprocess.Popen([PROGRAM, "serve", "--port", str(port)], env=env, cwd=folder, stdout=out, stderr=out)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, url, log)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url + "/readyz", timeout=5):
            return
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"the server did not start:\n{log.read_text()}")
