"""What executors write is shown while they write it, and afterwards what was kept; to those who may see the task."""

import asyncio
import http.client
import json
import socket
import time

import pytest

from fakes.following import following
from fakes.served import serve, until
from tesk.api.hashing import hash_secret
from tesk.compute.backend import AttemptId, Piece
from tesk.errors import Unavailable
from tesk.settings import AuthSettings, ServerSettings, Settings, Token
from tesk.store.rows import Move, Results
from tesk.tes.logs import ExecutorLog
from tesk.tes.state import State
from tesk.transfer import Progress

TASK = {"executors": [{"image": "debian", "command": ["true"]}]}


class Speaking:
    """A backend that writes what the test says. `asked` are the calls, `ended` is set when who listened is gone."""

    def __init__(self, *pieces, more=None, why=None):
        self.pieces = pieces
        self.more = more
        self.why = why
        self.asked = []
        self.ended = asyncio.Event()

    async def progress(self, attempt):
        return Progress(direction="inputs", files=3)

    def waiting(self, attempt):
        return self.why

    async def logs(self, attempt, executor, *, stream, follow):
        self.asked.append((attempt, executor, stream, follow))
        try:
            written = 0
            for piece in self.pieces:
                yield Piece("stdout", written, piece)
                written += len(piece)
            if follow and self.more is not None:
                await self.more.wait()
            yield Piece("stdout", written, b"")
        finally:
            self.ended.set()


def begun(served, **headers):
    """Submit a task and begin it; return its id and the lease."""
    task = served.ask("POST", "/v1/tasks", TASK, headers).json()["id"]

    async def begin():
        lease = await served.store.acquire("here", "test", 60)
        assert await served.store.begin(lease, task, time.time())
        return lease

    return task, served.run(begin())


def end(served, task, lease, *logs):
    results = Results(executor_logs=logs)
    move = Move(
        task_id=task,
        attempt=1,
        old=State.INITIALIZING,
        via=State.RUNNING,
        new=State.COMPLETE,
        time=time.time(),
        results=results,
    )
    assert served.run(served.store.move(lease, move))


def test_what_an_executor_writes_is_shown_at_once(tmp_path) -> None:
    live = Speaking(b"one\n", b"two\n", more=asyncio.Event())
    with serve(tmp_path, live=live) as served:
        task, _ = begun(served)
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        connection.request("GET", f"/tesk/v1/tasks/{task}/logs?executor=0&follow=1")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read(8) == b"one\ntwo\n"
        assert live.asked == [(AttemptId(task, 1), 0, "combined", True)]
        connection.close()
        answer.close()
        served.run(asyncio.wait_for(live.ended.wait(), 20))


def test_what_is_not_followed_is_shown_as_far_as_it_is(tmp_path) -> None:
    with serve(tmp_path, live=Speaking(b"one\n", more=asyncio.Event())) as served:
        task, _ = begun(served)
        assert served.get(f"/tesk/v1/tasks/{task}/logs?executor=0&stream=stdout").body == b"one\n"


def test_of_what_has_ended_the_kept_streams_are_shown(tmp_path) -> None:
    with serve(tmp_path, live=Speaking(b"never")) as served:
        task, lease = begun(served)
        end(served, task, lease, ExecutorLog(stdout="out é\n", stderr="err\n"))
        logs = f"/tesk/v1/tasks/{task}/logs"
        assert served.get(f"{logs}?executor=0&stream=stderr&follow=true").body == b"err\n"
        assert served.get(f"{logs}").body == "out é\nerr\n".encode()
        assert served.get(f"{logs}?executor=1").status == 404


def test_who_follows_a_task_that_waits_sees_it_begin(tmp_path) -> None:
    with serve(tmp_path, live=Speaking(b"words\n")) as served:
        task = served.ask("POST", "/v1/tasks", TASK).json()["id"]
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        connection.request("GET", f"/tesk/v1/tasks/{task}/logs?executor=0&follow=1")
        answer = connection.getresponse()

        async def begin():
            lease = await served.store.acquire("here", "test", 60)
            assert await served.store.begin(lease, task, time.time())

        served.run(begin())
        assert answer.read() == b"words\n"
        connection.close()


def test_streams_belong_to_who_owns_the_task(tmp_path) -> None:
    tokens = tuple(Token(name=name, token_hash=hash_secret(name * 8, "token")) for name in ("alice", "bob"))
    with serve(tmp_path, Settings(auth=AuthSettings(tokens=tokens)), live=Speaking(b"secret")) as served:
        task, _ = begun(served, Authorization="Bearer " + "alice" * 8)
        target = f"/tesk/v1/tasks/{task}/logs"
        assert served.get(target).status == 401
        assert served.get(target, Authorization="Bearer " + "bob" * 8).status == 404
        assert served.get(target, Authorization="Bearer " + "alice" * 8).body == b"secret"


@pytest.mark.parametrize(
    "target", ["executor=x", "executor=-1", "stream=both", "follow=yes", "follow=1&follow=0", "since=5", "since=1.x"]
)
def test_what_is_asked_wrongly_is_named(tmp_path, target) -> None:
    with serve(tmp_path) as served:
        task, _ = begun(served)
        answer = served.get(f"/tesk/v1/tasks/{task}/logs?{target}")
        assert answer.status == 400
        assert answer.json()["detail"]


def events(body):
    """Return the events of a stream: the id and what is told, the last one's kind for both."""
    seen = []
    for block in body.decode().strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        if lines["event"] == "log":
            seen.append((lines["id"], json.loads(lines["data"])))
        else:
            seen.append((lines["event"],) * 2)
    return seen


def test_each_piece_names_where_it_ends_and_who_comes_back_with_it_hears_the_rest(tmp_path) -> None:
    with serve(tmp_path, live=Speaking(b"one\n", b"t\xff\n")) as served:
        task, _ = begun(served)
        target, accept = f"/tesk/v1/tasks/{task}/logs?follow=1", {"Accept": "text/event-stream"}
        (first, one), (_, two), end_ = events(served.ask("GET", target, headers=accept).body)
        assert one == {"attempt": 1, "executor": 0, "stream": "stdout", "text": "one\n"}
        assert two == {"attempt": 1, "executor": 0, "stream": "stdout", "base64": "dP8K"}
        assert end_ == ("end", "end")
        again = events(served.ask("GET", target, headers=accept | {"Last-Event-ID": first}).body)
        assert [told for _, told in again] == [two, "end"]
        assert served.get(f"{target}&since={first}").body == b"t\xff\n"
        assert served.get(f"{target}&stream=stdout&since=5").body == b"\xff\n"
        assert served.get(f"{target}&stream=stdout&since=99").body == b""


def test_executors_are_shown_in_turn_from_where_a_follower_was(tmp_path) -> None:
    with serve(tmp_path, live=Speaking(b"one\n")) as served:
        task = served.ask("POST", "/v1/tasks", TASK | {"executors": TASK["executors"] * 3}).json()["id"]

        async def begin():
            lease = await served.store.acquire("here", "test", 60)
            assert await served.store.begin(lease, task, time.time())

        served.run(begin())
        logs = f"/tesk/v1/tasks/{task}/logs?follow=1"
        assert served.get(logs).body == b"one\n" * 3
        assert served.get(f"{logs}&executor=2").body == b"one\n"
        assert served.get(f"{logs}&since=1.1.o2").body == b"e\none\n"
        assert served.get(f"{logs}&since=7.1.o2").body == b"one\n" * 3


def test_what_the_system_says_is_shown_as_it_is_said(tmp_path) -> None:
    with serve(tmp_path) as served:
        task, lease = begun(served)
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        connection.request("GET", f"/tesk/v1/tasks/{task}/logs?stream=system&follow=1")
        answer = connection.getresponse()
        notes = Results(notes=("The disk was é full.",))
        move = Move(task_id=task, attempt=1, old=State.INITIALIZING, new=State.RUNNING, time=time.time(), results=notes)
        assert served.run(served.store.move(lease, move))
        sentence = "The disk was é full.\n".encode()
        assert answer.read(len(sentence)) == sentence
        done = Move(task_id=task, attempt=1, old=State.RUNNING, new=State.COMPLETE, time=time.time())
        assert served.run(served.store.move(lease, done))
        assert answer.read() == b""
        connection.close()
        assert served.get(f"/tesk/v1/tasks/{task}/logs?stream=system&since=4").body == sentence[4:]


def test_why_a_task_waits_is_shown(tmp_path) -> None:
    with serve(tmp_path, live=Speaking(why="0/3 nodes are available: insufficient memory")) as served:
        task, lease = begun(served)
        shown = served.get(f"/tesk/v1/tasks/{task}").json()
        assert shown["waiting"] == "0/3 nodes are available: insufficient memory"
        assert shown["transfer"]["files"] == 3
        end(served, task, lease)
        shown = json.loads(served.get(f"/tesk/v1/tasks/{task}").body)
        assert (shown["waiting"], shown["transfer"]) == (None, None)


def test_of_a_task_that_waits_again_it_is_said_which_attempt_of_how_many_it_is(tmp_path) -> None:
    with serve(tmp_path, live=Speaking(why="no image")) as served:
        task, lease = begun(served)

        async def begin_again():
            (held,) = await served.store.claimed(lease, [task])
            lost = Move(task_id=task, attempt=1, old=held.state, new=State.QUEUED, time=time.time(), results=Results())
            assert await served.store.move(lease, lost)
            assert await served.store.begin(lease, task, time.time())

        served.run(begin_again())
        assert served.get(f"/tesk/v1/tasks/{task}").json()["waiting"] == "attempt 2 of 3: no image"


def test_more_streams_than_the_settings_allow_are_asked_to_come_later(tmp_path) -> None:
    settings = Settings(server=ServerSettings(log_streams_limit=1))
    with serve(tmp_path, settings, live=Speaking(b"one\n", more=asyncio.Event())) as served:
        task, _ = begun(served)
        logs = f"/tesk/v1/tasks/{task}/logs"
        with following(served.url, f"{logs}?follow=1", accept="text/event-stream") as stream:
            assert stream.next()[1]["text"] == "one\n"
            refused = served.get(logs)
            assert (refused.status, refused.headers["retry-after"]) == (503, "10")
            assert "server.log_streams_limit" in refused.json()["detail"]
        until(lambda: served.get(logs).status == 200)


def test_who_does_not_read_is_cut_off(tmp_path) -> None:
    live = Speaking(*[b"x" * 65536] * 1000)
    settings = Settings(server=ServerSettings(slow_seconds=0.3))
    with serve(tmp_path, settings, live=live) as served, socket.socket() as deaf:
        task, _ = begun(served)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(30)
        deaf.connect(("127.0.0.1", served.port))
        deaf.sendall(f"GET /tesk/v1/tasks/{task}/logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        served.run(asyncio.wait_for(live.ended.wait(), 20))


class Gone:
    """A store that, once `over` is set, reads nothing more."""

    def __init__(self, store):
        self._store = store
        self.over = False

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def get(self, *args):
        if self.over:
            raise Unavailable("the database does not answer")
        return await self._store.get(*args)


def test_where_the_database_goes_away_the_stream_is_broken_off_and_not_ended(tmp_path) -> None:
    stores = []

    def gone(store):
        stores.append(Gone(store))
        return stores[0]

    with serve(tmp_path, wrap=gone) as served:
        task, lease = begun(served)
        with following(served.url, f"/tesk/v1/tasks/{task}/logs?follow=1", accept="text/event-stream") as stream:
            stores[0].over = True
            end(served, task, lease)
            assert stream.next() == (None, None)
