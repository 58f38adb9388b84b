"""What the backend cannot do of a task is refused before it is stored, whatever way the task goes."""

import json

import pytest

from fakes import served as fake
from fakes.served import connect
from tesk.errors import Problem

PATH = "/ga4gh/tes/v1/tasks"


def refuse(accepted, caller):
    """No task may be called `bad`."""
    return (Problem("name", f"is not for {caller.name}"),) * (accepted.task.name or "").startswith("bad")


@pytest.fixture
def served(tmp_path):
    with fake.serve(tmp_path, check=refuse) as server:
        yield server


def task(name, **more):
    return {"name": name, "executors": [{"image": "debian", "command": ["true"]}], **more}


def test_the_answer_names_the_problem_and_nothing_is_stored(served):
    answer = served.ask("POST", PATH, task("bad"))
    assert (answer.status, answer.json()["detail"]) == (400, "name is not for local")
    assert served.get(PATH).json()["tasks"] == []


def test_a_large_task_is_checked_as_well(served):
    large = task("bad", inputs=[{"path": "/x/y", "content": "x" * 300_000}])
    assert served.ask("POST", PATH, large).status == 400


def test_the_short_way_checks_too(served):
    with connect(served) as line:
        statuses = []
        for name in ("good", "bad!", "fine"):
            body = json.dumps(task(name)).encode()
            head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            statuses.append(line.recv(65536).split()[1])
    assert statuses == [b"200", b"400", b"200"]
