"""A real server process that has seen every extension used, for other people's clients to be pointed at."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes.process import serving

SETTLED = {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"}


@dataclass(frozen=True, slots=True)
class Running:
    """Where the server is, which folder tasks may use, and how the tasks ended that used the extensions."""

    url: str
    folder: Path
    before: dict[str, str]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that has seen everything."""
    folder = tmp_path_factory.mktemp("peers")
    with serving(folder) as url:
        files = folder / "files"
        yield Running(url, files, _ends(url, [*_use_every_extension(url, files), *_use_words_of_1_1(url, files)]))


@pytest.fixture(scope="session")
def running_1_0(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that has seen all that is ours, but none of the words that TES 1.1 added: a client of 1.0 fails on them."""
    folder = tmp_path_factory.mktemp("peers")
    with serving(folder) as url:
        yield Running(url, folder / "files", _ends(url, _use_every_extension(url, folder / "files")))


SAY = [{"image": "none", "command": ["echo", "said"]}]


def _use_every_extension(url: str, folder: Path) -> list[str]:
    """Send tasks that make the server store more than TES has words for."""
    (folder / "tree").mkdir()
    (folder / "tree/leaf").write_text("leaf\n")
    fraction = {"executors": SAY, "resources": {"cpu_cores": 0.5, "ram_gb": 0.1}, "unknown": 1}
    sent = [
        _post(url, fraction, key="once"),
        _post(url, fraction, key="once"),
        _post(url, {"executors": SAY, "inputs": [{"url": str(folder / "tree"), "path": "/in/tree"}]}),
        _post(url, {"executors": [{"image": "none", "command": ["sh", "-c", "exit 3"]}]}),
        _post(url, {"executors": SAY, "inputs": [{"url": "nowhere://x", "path": "/in/x"}]}),
        _post(url, {"executors": SAY, "resources": {"cpu_cores": 100_000}}),
        _post(url, {"executors": [{"image": "none", "command": ["sleep", "600"]}]}),
    ]
    urllib.request.urlopen(
        urllib.request.Request(f"{url}/v1/tasks/{sent[-1]}:cancel", method="POST"), timeout=10
    ).close()
    for task_id in sent:
        urllib.request.urlopen(f"{url}/tesk/v1/tasks/{task_id}", timeout=10).close()
    return sent


def _use_words_of_1_1(url: str, folder: Path) -> list[str]:
    parts = {"url": f"file://{folder}/parts", "path": "/out/*.txt", "path_prefix": "/out"}
    return [
        _post(url, {"executors": SAY, "resources": {"backend_parameters": {"time_limit_seconds": "60", "queue": "x"}}}),
        _post(url, {"executors": [{"image": "none", "command": ["false"], "ignore_error": True}, *SAY]}),
        _post(
            url, {"executors": [{"image": "none", "command": ["sh", "-c", "echo a > /out/a.txt"]}], "outputs": [parts]}
        ),
        _post(url, {"executors": SAY, "inputs": [{"content": "a", "path": "/in/a", "streamable": True}]}),
    ]


def _ends(url: str, sent: list[str]) -> dict[str, str]:
    return {task_id: _end(url, task_id) for task_id in sent}


def _post(url: str, task: dict[str, Any], *, key: str | None = None) -> str:
    asked = urllib.request.Request(f"{url}/ga4gh/tes/v1/tasks", data=json.dumps(task).encode())
    asked.add_header("Content-Type", "application/json")
    if key is not None:
        asked.add_header("Idempotency-Key", key)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return str(json.load(answer)["id"])


def _end(url: str, task_id: str) -> str:
    tag, end = "", time.monotonic() + 60
    while time.monotonic() < end:
        asked = urllib.request.Request(f"{url}/v1/tasks/{task_id}?wait=20")
        if tag:
            asked.add_header("If-None-Match", tag)
        try:
            with urllib.request.urlopen(asked, timeout=40) as answer:
                state, tag = json.load(answer)["state"], answer.headers["ETag"]
        except urllib.error.HTTPError as error:
            if error.code != 304:
                raise
            continue
        if state in SETTLED:
            return str(state)
    raise AssertionError(f"{task_id} did not end")
