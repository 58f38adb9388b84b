"""`tesk submit` of many, `tesk cancel` of all that fit."""

import json

import pytest

from fakes import served as fake
from fakes.typed import Typed

GOOD = {"name": "a", "tags": {"run": "1"}, "executors": [{"image": "debian", "command": ["true"]}]}
BAD = {"executors": [{"command": ["true"]}]}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with fake.serve(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture
def typed(served, tmp_path):
    return Typed(tmp_path, served.url)


def newest(served, count):
    tasks = served.get(f"/v1/tasks?page_size={count}").json()["tasks"]
    return [task["id"] for task in tasks][::-1]


def test_many_files_go_in_one_request_and_the_bad_ones_are_named_by_line(typed, served, tmp_path):
    (tmp_path / "lines.ndjson").write_text("".join(json.dumps(each) + "\n" for each in (GOOD, BAD, GOOD)))
    done = typed("submit", "lines.ndjson", "-", stdin=json.dumps([GOOD, GOOD | {"callback_url": 7}, GOOD]))
    assert done.returncode == 2
    assert done.stdout.split() == newest(served, 4)
    assert "lines.ndjson:2: executors[0].image: must be given" in done.stderr
    assert "<stdin>:1: callback_url: " in done.stderr
    assert "2 of 6 tasks were refused" in done.stderr
    assert 'route="/tesk/v1/tasks:batch"' in served.get("/metrics").body.decode()


def test_where_all_are_bad_each_is_named(typed):
    done = typed("submit", "-", stdin=json.dumps([BAD, BAD]))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("executors[0].image: must be given") == 2


def test_ids_of_many_as_json(typed, served):
    done = typed("submit", "-o", "json", "-", stdin=json.dumps([GOOD] * 3))
    assert [each["id"] for each in json.loads(done.stdout)] == newest(served, 3)


def test_what_fits_is_counted_and_then_canceled(typed, served):
    typed("submit", "-", stdin=json.dumps([GOOD | {"name": "x1"}] * 3 + [GOOD | {"name": "y1", "tags": {"k": "v"}}]))
    counted = typed("cancel", "--name-prefix", "x", "--dry-run")
    assert (counted.returncode, counted.stdout, counted.stderr) == (0, "3\n", "(nothing was canceled)\n")
    unsure = typed("cancel", "--name-prefix", "x")
    assert (unsure.returncode, unsure.stdout) == (2, "")
    assert "cancel 3 tasks at http://127.0.0.1" in unsure.stderr
    assert "--yes says so" in unsure.stderr
    done = typed("cancel", "--name-prefix", "x", "--state", "QUEUED", "--state", "RUNNING", "--tag", "run=1", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")
    again = typed("cancel", "--name-prefix", "x", "-y")
    assert (again.returncode, again.stdout, again.stderr) == (0, "0\n", "no task fits\n")
    assert typed("cancel", "--tag", "k", "--yes").stdout == "1\n"


def test_a_person_is_asked_whether_it_is_meant(typed, served):
    typed("submit", "-", stdin=json.dumps([GOOD | {"name": "z"}]))
    said, code = typed.on_a_terminal("cancel", "--name-prefix", "z", typing=b"n\n")
    assert ("cancel 1 task at http://127.0.0.1" in said, code) == (True, 1)
    said, code = typed.on_a_terminal("cancel", "--name-prefix", "z", typing=b"y\n")
    assert (said.splitlines()[-1].endswith("1"), code) == (True, 0)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--dry-run",),
        ("x", "--dry-run"),
        ("x", "--state", "RUNNING"),
        ("--all", "--state", "RUNNING"),
        ("--all", "--wait"),
        ("--state", "DONE"),
    ],
)
def test_what_is_not_clear_is_not_canceled(typed, words):
    done = typed("cancel", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_of_another_server_what_fits_is_canceled_one_by_one(tesk_at, serve):
    server = serve(states=["RUNNING"])
    for _ in range(3):
        server.add(GOOD)
    assert tesk_at(server)("cancel", "--tag", "run=1", "--yes").stdout == "3\n"
    assert tesk_at(server)("cancel", "--all", "--yes").stdout == "0\n"


def test_ids_are_printed_though_the_rest_was_not_sent(tesk_at, serve):
    can = {"batch": True, "limits": {"batch_tasks": 1}}
    server = serve(tesk=True, script=[(200, {}, can), (200, {}, {"tasks": [{"id": "a"}]}), (401, {}, {})])
    done = tesk_at(server)("submit", "-o", "json", "-", stdin=json.dumps([GOOD] * 3))
    assert (done.returncode, json.loads(done.stdout)) == (1, [{"id": "a"}])
    assert "(401)" in done.stderr
