#!/usr/bin/env python3
"""Show a whole task: start a server of its own on loopback, run two executors on real files, print all of it, stop."""

import contextlib
import functools
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

HOUSE = Path(__file__).resolve().parent.parent
TESK = HOUSE / ".venv/bin/tesk"
ENDED = {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"}
TEXT = HOUSE / "LICENSE"


def main() -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    _need_bubblewrap()
    folder = HOUSE / "build/demo"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(HOUSE / "examples/data/stop-words.txt", folder)
    with (
        tempfile.TemporaryDirectory(prefix="tesk-demo-") as data,
        _files() as files,
        _server(Path(data), folder) as url,
    ):
        task = (HOUSE / "examples/two-steps.yaml").read_text()
        (folder / "task.yaml").write_text(task.replace("TEXT_URL", f"{files}/{TEXT.name}").replace("HERE", str(folder)))
        task_id = _tesk(url, "submit", "build/demo/task.yaml").strip().splitlines()[-1]
        print(task_id)
        ended = _follow(url, task_id)
        _show(ended)
        if ended["state"] != "COMPLETE":
            _tesk(url, "doctor", may_fail=True)
            raise SystemExit(f"The task ended {ended['state']}. The server's log: build/demo/server.log")
        print("\n$ cat build/demo/most-used-words.txt")
        print((folder / "most-used-words.txt").read_text(), end="")
    print(
        "\nAll that was started is stopped. Where to look next:\n"
        "  build/demo/task.yaml       the task as it was sent; more of them in examples/\n"
        "  build/demo/server.log      what the server said\n"
        "  .venv/bin/tesk serve       a server to keep; then, in another terminal:\n"
        "  .venv/bin/tesk run -- sh -c 'echo hello'\n"
        "  make docs                  the documentation, in build/docs/index.html"
    )


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _need_bubblewrap() -> None:
    if shutil.which("bwrap"):
        return
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "bubblewrap"]
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise SystemExit("The sandbox needs bubblewrap. On Debian or Ubuntu: sudo apt-get install -y bubblewrap")
    print("$", *install)
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=env)
    subprocess.run(install, check=True, env=env, stdout=subprocess.DEVNULL)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the library gives it
        """Say nothing: the server's own words are what the demo shows."""


@contextlib.contextmanager
def _files() -> Iterator[str]:
    """Serve the checkout's own files over HTTP on loopback."""
    handler = functools.partial(_Quiet, directory=str(HOUSE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def _server(data: Path, folder: Path) -> Iterator[str]:
    """Run `tesk serve` until the block ends, however it ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The person's own settings stay out of it; what it may read and write is the demo's folder.
    env = {name: value for name, value in os.environ.items() if not name.startswith("TESK_")}
    env |= {"TESK_STORAGE_FILE_ROOTS": str(folder), "TESK_SHUTDOWN_GRACE": "0"}
    command = [TESK, "serve", "--port", str(port), "--data-dir", data, "--config", os.devnull]
    print("$ tesk serve --port", port)
    with (folder / "server.log").open("wb") as log:
        # A session of its own: Ctrl-C comes to us, and we stop it.
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, url, folder / "server.log")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=5):
            return
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"The server did not start. It said:\n{log.read_text()}")
        time.sleep(0.05)


def _tesk(url: str, *words: str, may_fail: bool = False) -> str:
    """Run one `tesk` command and show it; return what it printed."""
    print("$ tesk", *words)
    env = os.environ | {"TESK_SERVER": url}
    done = subprocess.run([TESK, *words], env=env, cwd=HOUSE, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode and not may_fail:
        raise SystemExit(f"tesk {words[0]} ended with {done.returncode}")
    if may_fail:
        print(done.stdout)
    return done.stdout


def _follow(url: str, task_id: str) -> dict[str, Any]:
    """Print each move when it comes, with its own time; return the task as it ended."""
    tag, state, shown, begun = "", "", 0, None
    while state not in ENDED:
        asked = urllib.request.Request(f"{url}/ga4gh/tes/v1/tasks/{task_id}?wait=30")
        if tag:
            asked.add_header("If-None-Match", tag)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                tag, state = answer.headers["ETag"], json.load(answer)["state"]
        except urllib.error.HTTPError as error:
            if error.code != 304:
                raise
            continue
        # A task may move twice while we look once: its events have every move.
        with urllib.request.urlopen(f"{url}/tesk/v1/tasks/{task_id}", timeout=60) as answer:
            events = json.load(answer)["events"]
        for event in events[shown:]:
            time_of_event = datetime.fromisoformat(event["time"])
            begun = begun or time_of_event
            print(f"  {(time_of_event - begun).total_seconds():6.3f} s  {event['state']}", flush=True)
        shown = len(events)
    with urllib.request.urlopen(f"{url}/ga4gh/tes/v1/tasks/{task_id}?view=FULL", timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _show(task: dict[str, Any]) -> None:
    log = task["logs"][-1]
    for number, executor in enumerate(log["logs"]):
        print(f"executor {number} ended with exit code {executor['exit_code']}")
        for stream in ("stdout", "stderr"):
            for line in executor.get(stream, "").splitlines():
                print(f"  {stream}: {line}")
    for output in log["outputs"]:
        print(f"output {output['url']} ({output['size_bytes']} bytes)")
    for line in log.get("system_logs", []):
        print(f"system: {line}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("\nStopped, and all that was started with it.") from None
