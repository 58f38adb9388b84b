"""What a client asks that waits for a thousand tasks which do not change: `tesk wait`, beside asking for each once a second."""

import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench import servers, tasks
from bench.submissions import PATH, busy
from bench.table import Figure
from tesk.client import Client

TASKS = 1000
SECONDS = 5.0


def measure() -> list[Figure]:
    with (
        tempfile.TemporaryDirectory(prefix="tesk-bench-") as name,
        busy(Path(name)) as server,
        Client(f"http://127.0.0.1:{server.port}") as client,
    ):
        ids = [client.create(tasks.bare("true")) for _ in range(TASKS)]
        ours, streams = _waiting(server, ids)
        before = _asked(server)
        began = time.monotonic()
        for round_ in range(int(SECONDS)):
            for task_id in ids:
                client.get(task_id)
            time.sleep(max(0.0, began + round_ + 1 - time.monotonic()))
        peer = (_asked(server) - before) / TASKS
    note = f"in {SECONDS:g} s, of {TASKS:,} tasks; {streams} connection is held; the peer asks {PATH}/ID for each once a second"
    return [
        Figure("requests of `tesk wait` for a task that does not change", ours, peer, "", ours / peer, "<=", 0, note)
    ]


def _waiting(server: servers.Server, ids: list[str]) -> tuple[float, int]:
    """Return the requests for each task in a time, once all are waited for, and how many streams are open."""
    command = [str(Path(sys.executable).with_name("tesk")), "wait", "--server", f"http://127.0.0.1:{server.port}", *ids]
    process = subprocess.Popen(command)
    try:
        while not (streams := _number(server, r"^tesk_event_streams (\d+)")):
            time.sleep(0.05)
        time.sleep(2.0)  # what is known of all of them has been told
        before = _asked(server)
        time.sleep(SECONDS)
        return (_asked(server) - before) / TASKS, streams
    finally:
        process.terminate()
        process.wait(30)


def _asked(server: servers.Server) -> int:
    """Return how many requests were answered, but for those for the metrics."""
    return _number(server, r'^tesk_http_requests_total\{route="(?!/metrics").*\} (\d+)')


def _number(server: servers.Server, line: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as answer:
        return sum(int(count) for count in re.findall(line, answer.read().decode(), re.MULTILINE))
