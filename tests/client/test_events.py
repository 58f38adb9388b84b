"""A stream of events is one stream for who reads it, whatever becomes of its connections."""

import asyncio
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.moves import run, submit
from fakes.served import serve
from fakes.tes_server import FakeTes
from tesk.client import AsyncClient, Client, Patience
from tesk.client.http1 import Origin, Request, Response
from tesk.client.sent import Parser, Sent
from tesk.client.subscription import Subscription
from tesk.errors import BadRequest, EventsMissed, NotEnded, NotFound, Unavailable, Unreachable
from tesk.tes.state import State

ORIGIN = Origin("a", 80, tls=False)
STREAM = (
    b"retry: 1000\n\n:\n\nid: 7\nevent: state\ndata: {\ndata: }\n\nid: 9\n\r\n"
    b"id: 10\r\nevent: state\r\ndata:x\r\n\r\nevent: end\ndata: {}\n\n"
)
EVENTS = [Sent("7", "state", "{\n}"), Sent("9", "message", ""), Sent("10", "state", "x"), Sent("10", "end", "{}")]


@given(st.lists(st.integers(1, 40), max_size=20))
def test_events_are_whole_wherever_their_bytes_were_cut(sizes) -> None:
    parser, heard, rest = Parser(), [], STREAM
    for size in (*sizes, len(STREAM)):
        heard += parser.feed(rest[:size])
        rest = rest[size:]
    assert heard == EVENTS
    assert parser.last_id == "10"


class Told(list):
    def __call__(self, error, seconds):
        self.append((str(error), seconds))


def subscription(told, **more):
    return Subscription(ORIGIN, Request("GET", "/x"), Patience(busy=600, gone=100), told=told, **more)


def last_id(stream):
    return dict(stream.request().headers).get("Last-Event-ID")


def test_who_comes_again_says_what_was_the_last_that_it_heard() -> None:
    stream = subscription(Told())
    assert last_id(stream) is None
    assert [sent.id for sent in stream.heard(b"id: 7\ndata: a\n\nid: 8\ndata: b\n")] == ["7"]
    assert last_id(stream) == "7"  # the half of an event is none
    assert [sent.data for sent in stream.heard(b"id: 8\ndata: b\n\n")] == ["b"]


def test_a_short_break_is_not_told_of_and_a_long_one_once() -> None:
    told = Told()
    stream = subscription(told, told_after=10.0)
    gone, pauses = Unreachable("gone", sent=False), []
    assert stream.broke(gone) < 1
    stream.heard(b":\n\n")
    while sum(pauses) < 100:
        pauses.append(stream.broke(gone))
    with pytest.raises(Unreachable):
        stream.broke(gone)
    assert told == [("gone", 100)]
    stream.heard(b":\n\n")
    assert stream.broke(gone) < 1


def test_what_will_not_pass_by_itself_is_raised_and_what_is_busy_is_asked_when_it_says() -> None:
    stream = subscription(Told())
    with pytest.raises(BadRequest):
        stream.broke(BadRequest("no"))
    assert stream.broke(Unavailable("later", retry_after_seconds=7)) == 7


def test_a_stream_that_something_keeps_back_is_known_by_its_silence() -> None:
    stream = subscription(Told())
    stream.broke(stream.silent())
    assert not stream.is_mute
    stream.request()
    silent = stream.silent()
    assert stream.is_mute
    with pytest.raises(Unreachable):
        stream.broke(silent)


def test_an_answer_that_is_no_stream_is_strange() -> None:
    stream = subscription(Told())
    assert "no stream" in str(stream.ended(Response(200, {"content-type": "text/html"}, b"")))
    assert isinstance(stream.ended(Response(404, {}, json.dumps({"detail": "x"}).encode())), NotFound)


class Plain:
    """The plain client, as coroutines."""

    def __init__(self, url):
        self._client = Client(url)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self._client.close()

    async def ended(self, tasks):
        for event in self._client.ended(tasks):
            yield event

    async def wait(self, task, **more):
        return await asyncio.to_thread(self._client.wait, task, **more)

    async def events(self, **more):
        for event in self._client.events(**more):
            yield event


@pytest.fixture(params=[Plain, AsyncClient])
def face(request):
    return request.param


def test_ends_come_as_they_are_over_a_server_that_begins_anew(tmp_path, face) -> None:
    async def story():
        with serve(tmp_path) as served:
            tasks, port = submit(served, 3), served.port
            async with face(served.url) as tes:
                ends = tes.ended(tasks)
                run(served, tasks[:2], State.EXECUTOR_ERROR)
                seen = [await anext(ends), await anext(ends)]
                assert [(event.id, event.state) for event in seen] == [(t, "EXECUTOR_ERROR") for t in tasks[:2]]
                served.run(served.close_down())
                return tasks, port, ends, tes

    async def whole():
        tasks, port, ends, _ = await story()
        with serve(tmp_path, port=port) as served:
            run(served, tasks[2:])
            async with asyncio.timeout(30):
                assert [event.id async for event in ends] == tasks[2:]

    asyncio.run(whole())


def test_moves_come_by_what_they_are_of_and_go_on_behind_a_position(tmp_path, face) -> None:
    async def story():
        with serve(tmp_path) as served:
            tasks = submit(served, 2)
            run(served, tasks)
            async with face(served.url) as tes, asyncio.timeout(30):
                moves = tes.events(states=[State.RUNNING, State.COMPLETE], name_prefix="x", after="0")
                seen = [await anext(moves) for _ in range(4)]
                await moves.aclose()
                assert [(event.id, event.state, event.sequence) for event in seen] == [
                    (task, state, number) for task in tasks for state, number in (("RUNNING", 3), ("COMPLETE", 4))
                ]
                behind = tes.events(tasks=tasks, after=seen[2].position)
                assert (await anext(behind)) == seen[3]
                await behind.aclose()

    asyncio.run(story())


def test_one_task_is_waited_for_by_its_events(tmp_path, face) -> None:
    async def story():
        with serve(tmp_path) as served:
            (task,) = submit(served, 1)
            before = served.get("/metrics").body.decode().count('route="/tasks/{id}"')
            async with face(served.url) as tes, asyncio.timeout(30):
                told, begun = [], threading.Event()

                def hear(state):
                    told.append(state)
                    begun.set()

                with pytest.raises(NotEnded, match=r"is still QUEUED after 0\.3 s"):
                    await tes.wait(task, timeout_seconds=0.3)
                waiting = asyncio.create_task(tes.wait(task, told=hear))
                assert await asyncio.to_thread(begun.wait, 20)
                await asyncio.to_thread(run, served, [task])
                assert (await waiting).state is State.COMPLETE
                assert told == ["QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"]
                with pytest.raises(NotFound):
                    await tes.wait("0" * 26)
            lines = served.get("/metrics").body.decode().splitlines()
            asked = [line for line in lines if 'route="/tasks/{id}"' in line]
            assert before == 0
            assert asked == ['tesk_http_requests_total{route="/tasks/{id}",method="GET",code="200"} 1', *asked[1:]]

    asyncio.run(story())


SSE = {"Content-Type": "text/event-stream"}
BEGIN = b"retry: 1000\n\n"


def ended(task, place):
    return b'id: %d\nevent: state\ndata: {"id":"%b","state":"COMPLETE"}\n\n' % (place, task.encode())


def another(*script, states=("COMPLETE",)):
    """A server that tells what a test says, and has two tasks."""
    server = FakeTes(tesk=True, abilities={"events": True}, states=states, script=script)
    for key in "ab":
        server.add({"executors": []}, key)
    return server.serving()


async def ends(face, server, *tasks):
    async with face(server.url) as tes, asyncio.timeout(30):
        return [(event.id, event.state) async for event in tes.ended(tasks)]


def test_what_a_stream_does_not_know_is_asked_for_once(face) -> None:
    told = (200, SSE, BEGIN + b"id: 7\n\nid: 8\n\n" + ended("task-1", 9))
    with another(told) as server:
        assert asyncio.run(ends(face, server, "task-2", "task-1")) == [("task-2", "COMPLETE"), ("task-1", "COMPLETE")]
        assert [target for _, target, _ in server.requests].count("/ga4gh/tes/v1/tasks/task-2?view=MINIMAL") == 1
    with another((200, SSE, BEGIN + b"id: 7\n\n")) as server, pytest.raises(NotFound):
        asyncio.run(ends(face, server, "nobody's"))


def test_after_a_gap_those_that_have_not_ended_are_asked_for(face) -> None:
    gap = (200, SSE, b'event: gap\ndata: {"after":9,"oldest":20}\n\n')
    with another((200, SSE, BEGIN + ended("task-1", 9)), (502, {}, b"<html>"), gap) as server:
        assert asyncio.run(ends(face, server, "task-1", "task-2")) == [("task-1", "COMPLETE"), ("task-2", "COMPLETE")]


def test_who_wants_every_move_is_told_that_some_are_missed(face) -> None:
    async def story(server):
        async with face(server.url) as tes, asyncio.timeout(30):
            with pytest.raises(EventsMissed):
                [event async for event in tes.events(after="5")]

    with another((200, SSE, BEGIN + b'event: gap\ndata: {"after":5,"oldest":20}\n\n')) as server:
        asyncio.run(story(server))


def test_a_server_that_only_begins_its_streams_is_not_asked_for_ever() -> None:
    stream = subscription(Told())
    pauses = []

    def begins():
        while True:
            assert stream.heard(BEGIN) == []
            pauses.append(stream.broke(Unreachable("broke", sent=True)))

    with pytest.raises(Unreachable):
        begins()
    assert sum(pauses) > 500


def test_a_place_that_fits_no_header_is_none() -> None:
    parser = Parser()
    parser.feed("id: 7\ndata: a\n\nid: ☃\ndata: b\n\nid: 8\rX: y\ndata: c\n\n".encode())
    assert parser.last_id == "7"
