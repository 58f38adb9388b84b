"""`tesk logs -f` and `tesk get` while a task waits and runs, over HTTP."""

import asyncio
import contextlib
import json
import subprocess
import time

import pytest

from fakes.process import serving
from fakes.served import serve as served_at
from fakes.served import until
from fakes.typed import Typed
from tesk.compute.backend import Piece
from tesk.store.rows import Move, Results
from tesk.tes.logs import ExecutorLog
from tesk.tes.state import State

WHY = "0/3 nodes are available: 3 Insufficient memory."


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.mark.parametrize("stream", [(), ("--stream", "stdout")], ids=["both", "stdout"])
def test_what_runs_is_printed_before_it_ends(url, tmp_path, stream):
    tesk = Typed(tmp_path, url)
    task = {
        "executors": [
            {"image": "x", "command": ["sh", "-c", "echo one; sleep 2; echo two; echo bad >&2"]},
            {"image": "x", "command": ["echo", "three"]},
        ]
    }
    task_id = tesk("submit", "-", stdin=json.dumps(task)).stdout.strip()
    process = tesk.start("logs", "-f", *stream, task_id, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "one\n"
    assert json.loads(tesk("get", task_id, "-o", "json").stdout)["state"] != "COMPLETE"
    rest, said = process.communicate(timeout=60)
    assert (rest.replace("bad\n", ""), process.returncode) == ("two\nthree\n", 0), said
    assert ("bad\n" in rest) is (stream == ())


def test_a_task_that_has_ended_is_printed_as_it_was(url, tmp_path):
    tesk = Typed(tmp_path, url)
    tesk("run", "--", "sh", "-c", "echo out; echo err >&2")
    done = tesk("logs", "-f", "@latest")
    assert (done.stdout, done.stderr, done.returncode) == ("out\nerr\n", "", 0)


def test_an_executor_that_there_is_not_is_named(url, tmp_path):
    tesk = Typed(tmp_path, url)
    tesk("run", "true")
    done = tesk("logs", "-f", "--executor", "3", "@latest")
    assert done.returncode == 1
    assert "has 1 executors, so no executor 3" in done.stderr


def test_a_server_of_somebody_else_is_waited_for(serve, tesk_at):
    logs = [{"logs": [{"stdout": "words\n", "exit_code": 0}], "outputs": [], "system_logs": None}]
    server = serve(logs=logs)
    server.add({"executors": [{"command": ["a"]}]})
    done = tesk_at(server)("logs", "-f", "task-1")
    assert (done.stdout, done.returncode) == ("words\n", 0)
    assert done.stderr == f"{server.url} does not show what runs, as TESK does; waiting for the end of the task\n"


class Backend:
    """Says what the test says. `streams` are what attempts write, one after the other, each when it is let go."""

    def __init__(self, why=None, streams=()):
        self.why = why
        self.streams = streams
        self.asked = []

    async def progress(self, attempt):
        return None

    def waiting(self, attempt):
        return self.why

    async def logs(self, attempt, executor, *, stream, follow):
        self.asked.append(attempt.number)
        piece, ended = self.streams[attempt.number - 1]
        yield Piece(stream, 0, piece)
        await ended.wait()
        yield Piece(stream, len(piece), b"")


async def set_(event):
    event.set()


def begin(served, task):
    async def acts():
        lease = await served.store.acquire("here", "test", 60)
        assert await served.store.begin(lease, task, time.time())
        return lease

    return served.run(acts())


def move(served, lease, task, attempt, old, new, **more):
    assert served.run(
        served.store.move(lease, Move(task_id=task, attempt=attempt, old=old, new=new, time=time.time(), **more))
    )


def test_why_a_task_waits_is_said_by_get_logs_and_wait(tmp_path):
    live = Backend(why=WHY, streams=[(b"begun\n", asyncio.Event())])
    with served_at(tmp_path, live=live) as served:
        tesk = Typed(tmp_path, served.url)
        task = tesk("run", "-d", "true").stdout.strip()
        begin(served, task)
        shown = tesk("get", task)
        assert shown.stderr == f"task {task}: {WHY}\n"
        assert WHY not in shown.stdout
        assert tesk("get", task, "-o", "table").stdout.splitlines()[1].endswith(WHY)
        waits = tesk("wait", task, "--timeout", "3")
        assert f"waits: {WHY}\n" in waits.stderr
        assert waits.stderr.count(WHY) == 1
        process = tesk.start("logs", "-f", task, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout.readline() == "begun\n"
        process.terminate()
        assert process.communicate(timeout=30)[1] == f"task {task} waits: {WHY}\n"


def test_who_follows_an_attempt_that_is_lost_sees_the_next_one(tmp_path):
    first, second = asyncio.Event(), asyncio.Event()
    live = Backend(streams=[(b"one\n", first), (b"two\n", second)])
    with served_at(tmp_path, live=live) as served:
        tesk = Typed(tmp_path, served.url)
        task = tesk("run", "-d", "true").stdout.strip()
        lease = begin(served, task)
        move(served, lease, task, 1, State.INITIALIZING, State.RUNNING)
        process = tesk.start("logs", "-f", task, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout.readline() == "one\n"
        move(served, lease, task, 1, State.RUNNING, State.QUEUED)
        served.run(set_(first))
        until(lambda: len(live.asked) == 1)
        lease = begin(served, task)
        assert process.stdout.readline() == "two\n"
        results = Results(executor_logs=(ExecutorLog(stdout="two\n", exit_code=0),))
        move(served, lease, task, 2, State.INITIALIZING, State.COMPLETE, via=State.RUNNING, results=results)
        served.run(set_(second))
        rest, said = process.communicate(timeout=30)
        assert (rest, said, process.returncode) == ("", f"task {task} is tried again\n", 0)


def test_who_follows_a_task_whose_stream_breaks_off_is_told_that_it_still_runs(tmp_path):
    broken = asyncio.Event()
    live = Backend(streams=[(b"one\n", broken)])
    with served_at(tmp_path, live=live) as served:
        tesk = Typed(tmp_path, served.url)
        task = tesk("run", "-d", "true").stdout.strip()
        move(served, begin(served, task), task, 1, State.INITIALIZING, State.RUNNING)
        process = tesk.start("logs", "-f", task, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout.readline() == "one\n"
        served.run(set_(broken))
        rest, said = process.communicate(timeout=30)
        assert (rest, process.returncode) == ("", 0)
        assert said.startswith(f"task {task} is still RUNNING: ")


@contextlib.contextmanager
def left_alone(tmp_path):
    """Follow a task whose server goes away when `one` is printed; yield the reader, the task and where its server was."""
    live = Backend(streams=[(b"one\n", asyncio.Event())])
    with served_at(tmp_path, live=live) as served:
        tesk = Typed(tmp_path, served.url)
        task = tesk("run", "-d", "true").stdout.strip()
        lease = begin(served, task)
        move(served, lease, task, 1, State.INITIALIZING, State.RUNNING)
        process = tesk.start("logs", "-f", task, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout.readline() == "one\n"
        served.run(served.close_down())
        said = process.stderr.readline()
        assert said.startswith(f"the stream broke off: {served.url} broke the connection")
        assert said.endswith("asking again for 120 s\n")
    yield process, task, served.port


def end(served, task, **log):
    """Have a new server end a task that an earlier one has begun."""

    async def takes_over():
        lease = await served.store.acquire("here", "test", 60)
        await served.store.adopt(lease, task)
        return lease

    results = Results(executor_logs=(ExecutorLog(exit_code=0, **log),))
    move(served, served.run(takes_over()), task, 1, State.RUNNING, State.COMPLETE, results=results)


def test_who_follows_a_task_goes_on_where_the_server_went_away_and_sees_nothing_twice(tmp_path):
    ended = asyncio.Event()
    with (
        left_alone(tmp_path) as (process, task, port),
        served_at(tmp_path, live=Backend(streams=[(b"one\ntwo\n", ended)]), port=port) as served,
    ):
        assert process.stdout.readline() == "two\n"
        end(served, task, stdout="one\ntwo\n")
        served.run(set_(ended))
        assert (*process.communicate(timeout=30), process.returncode) == ("", "", 0)


@pytest.mark.parametrize(
    ("stderr", "rest", "said"),
    [
        ("", "two\n", ""),
        (
            "bad\n",
            "",
            "executor 0 ended meanwhile; what it wrote last is in its log, stdout and stderr each by itself\n",
        ),
    ],
)
def test_what_an_executor_wrote_while_its_server_was_away_is_printed_where_it_has_ended(tmp_path, stderr, rest, said):
    with left_alone(tmp_path) as (process, task, port), served_at(tmp_path, port=port) as served:
        end(served, task, stdout="one\ntwo\n", stderr=stderr)
        assert (*process.communicate(timeout=30), process.returncode) == (rest, said, 0)
