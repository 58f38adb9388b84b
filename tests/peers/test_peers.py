"""Clients that must work unchanged, pointed at a real server: each runs a whole task and lists everything."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fakes.environment import peer_python

PROGRAMS = Path(__file__).parent / "programs"


@pytest.mark.parametrize(
    ("peer", "program", "server"),
    [
        ("py-tes", "py_tes.py", "running"),
        ("py-tes-0.4.2", "py_tes.py", "running_1_0"),
        ("pydantic-tes", "pydantic_tes.py", "running"),
    ],
)
def test_a_client_runs_a_whole_task_and_lists_full_after_every_extension_was_used(
    peer: str, program: str, server: str, request: pytest.FixtureRequest
) -> None:
    running = request.getfixturevalue(server)
    folder = running.folder / peer
    folder.mkdir()
    done = subprocess.run(
        [peer_python(peer), PROGRAMS / program, running.url, folder],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["state"] == "COMPLETE"
    assert seen["exit_codes"] == [0, 0]
    assert seen["stdout"] == "2\n"
    assert seen["stderr"] == "said\n"
    assert seen["outputs"] == [f"file://{folder}/count.txt"]
    assert (folder / "count.txt").read_text() == "2\n"
    assert running.before.items() <= seen["listed"].items()
    assert set(running.before) <= set(seen["minimal"])


def test_the_extensions_that_were_used_ended_as_they_should(running: Any) -> None:
    assert sorted(running.before.values()) == sorted(
        ["COMPLETE"] * 6 + ["EXECUTOR_ERROR"] + ["SYSTEM_ERROR"] * 2 + ["CANCELED"]
    )


def test_curl_runs_a_whole_task(running: Any) -> None:
    task = {"executors": [{"image": "none", "command": ["echo", "by curl"]}]}
    base = f"{running.url}/ga4gh/tes/v1"
    made = _curl(f"{base}/tasks", "-H", "Content-Type: application/json", "-d", json.dumps(task))
    state = "QUEUED"
    while state not in {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR"}:
        found = _curl(f"{base}/tasks/{made['id']}?wait=30", "-H", f'If-None-Match: "{state}"')
        state = found.get("state", state)
    full = _curl(f"{base}/tasks/{made['id']}?view=FULL")
    assert full["state"] == "COMPLETE"
    assert full["logs"][0]["logs"][0]["stdout"] == "by curl\n"
    assert (
        running.before.items()
        <= {each["id"]: each["state"] for each in _curl(f"{base}/tasks?view=FULL")["tasks"]}.items()
    )
    assert _curl(f"{base}/tasks/{made['id']}:cancel", "-X", "POST") == {}


def _curl(url: str, *words: str) -> Any:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "60", *words, url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "{}")
