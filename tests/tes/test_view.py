"""What each view shows of a task."""

import json

import pytest

from tesk.store.rows import StoredAttempt, StoredExecutorLog, StoredTask
from tesk.tes.state import State
from tesk.tes.task import Extension
from tesk.tes.validation import accept
from tesk.tes.view import View, render

TASK = {
    "name": 'say "content":',
    "inputs": [{"path": "/a", "content": "secret"}, {"path": "/b", "url": "/x"}],
    "executors": [{"image": "i", "command": ["c"], "stdout": "/out", "stderr": "/err"}],
    "resources": {"cpu_cores": 0.5},
}
ATTEMPTS = (
    StoredAttempt(number=1, log=b'{"start_time":"t","outputs":[]}', system_logs=b'["lost"]', executors=()),
    StoredAttempt(
        number=2,
        log=b'{"metadata":{"host":"h"},"outputs":[]}',
        system_logs=b"[]",
        executors=(
            StoredExecutorLog(log=b'{"exit_code":0}', stdout=b'"said"', stderr=None),
            StoredExecutorLog(log=b'{"exit_code":1}', stdout=b'""', stderr=b'"no"'),
        ),
    ),
)


def shown(view, *, attempts=ATTEMPTS, warnings=()):
    taken = accept(json.dumps(TASK).encode(), parameters=frozenset(), content_limit_bytes=100)
    task = StoredTask(
        id="a1",
        owner="o",
        state=State.RUNNING,
        created=1.5,
        revision=1,
        body=taken.body,
        extension=Extension(warnings=warnings),
        attempts=attempts,
    )
    return json.loads(render(task, view))


def test_minimal_is_id_and_state_and_nothing_else():
    assert shown(View.MINIMAL) == {"id": "a1", "state": "RUNNING"}


def test_full_is_all():
    full = shown(View.FULL)
    assert full["creation_time"] == "1970-01-01T00:00:01.500Z"
    assert full["inputs"][0]["content"] == "secret"
    assert full["logs"] == [
        {"start_time": "t", "outputs": [], "logs": [], "system_logs": ["lost"]},
        {
            "metadata": {"host": "h"},
            "outputs": [],
            "logs": [{"exit_code": 0, "stdout": "said"}, {"exit_code": 1, "stdout": "", "stderr": "no"}],
            "system_logs": [],
        },
    ]


def test_basic_is_all_but_content_what_executors_printed_and_system_logs():
    basic, full = shown(View.BASIC), shown(View.FULL)
    del full["inputs"][0]["content"]
    for attempt in full["logs"]:
        del attempt["system_logs"]
        for log in attempt["logs"]:
            log.pop("stdout", None)
            log.pop("stderr", None)
    assert basic == full
    assert basic["executors"][0]["stdout"] == "/out"
    assert repr(basic["resources"]["cpu_cores"]) == "1"


@pytest.mark.parametrize("view", [View.BASIC, View.FULL])
def test_lists_are_always_there(view):
    task = shown(view)
    assert [task[name] for name in ("outputs", "volumes", "tags")] == [[], [], {}]


def test_warnings_are_the_first_lines_of_the_first_system_logs():
    logs = shown(View.FULL, warnings=("left out",))["logs"]
    assert [log["system_logs"] for log in logs] == [["left out", "lost"], []]
    one = shown(View.FULL, attempts=ATTEMPTS[1:], warnings=("left out",))["logs"]
    assert one[0]["system_logs"] == ["left out"]
