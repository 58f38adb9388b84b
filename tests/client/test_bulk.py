"""Many tasks at a time: by a server that takes batches, and by one that does not."""

import asyncio
import json

import pytest

from fakes import served as fake
from fakes.tes_server import FakeTes
from tesk.client import AsyncClient, Canceled, Client, Patience
from tesk.client.bulk import parts
from tesk.errors import BadDocument, BadRequest, Conflict, Unauthenticated, Unavailable, Unreachable
from tesk.tes.state import State
from tesk.tes.task import Executor, Task

GOOD = Task(name="a", tags={"run": "1"}, executors=(Executor(image="debian", command=("true",)),))
BAD = {"executors": [{"command": ["true"]}]}


@pytest.fixture
def ours(tmp_path):
    with fake.serve(tmp_path) as server:
        yield server


@pytest.fixture
def others():
    with FakeTes(states=["RUNNING"]).serving() as server:
        yield server


def test_each_task_has_its_place(ours):
    with Client(ours.url) as tes:
        places = tes.submit_many([GOOD, BAD, GOOD])
        assert [task.id for task in tes.list()] == [places[2], places[0]]
        assert isinstance(places[1], BadRequest)
        assert places[1].problems[0].path == "executors[0].image"
        (refused,) = tes.submit_many([BAD])
        assert isinstance(refused, BadRequest)
        assert tes.submit_many([]) == []


def test_many_are_parted_into_what_a_server_takes():
    bodies = [b"x" * 9] * 10
    assert [len(part) for part in parts(bodies, {"limits": {"batch_tasks": 4}})] == [4, 4, 2]
    assert [len(part) for part in parts(bodies, {"limits": {"batch_body_bytes": 35}})] == [3, 3, 3, 1]
    assert [len(part) for part in parts(bodies, {"limits": {"batch_body_bytes": 5}})] == [1] * 10
    assert [len(part) for part in parts(bodies, {"limits": None})] == [10]
    assert list(parts([], {})) == []


def test_another_server_is_sent_one_after_the_other(others):
    with Client(others.url) as tes:
        assert tes.submit_many([GOOD, GOOD]) == ["task-1", "task-2"]
        assert isinstance(tes.submit_many([{"executors": []}])[0], BadRequest)


def test_what_is_full_for_a_moment_is_sent_again_by_the_same_key():
    full = {"error": {"status": 503, "title": "Unavailable", "detail": "not now"}}
    headers = {"Content-Type": "application/json"}
    script = [
        (200, headers, json.dumps({"batch": True}).encode()),
        (200, headers, json.dumps({"tasks": [{"id": "a"}, full]}).encode()),
        (200, headers, json.dumps({"tasks": [{"id": "a"}, {"id": "b"}]}).encode()),
        (200, headers, json.dumps({"batch": True}).encode()),
        (200, headers, json.dumps({"tasks": [full]}).encode()),
    ]
    with FakeTes(script=script, tesk=True).serving() as server:
        with Client(server.url) as tes:
            assert tes.submit_many([GOOD, GOOD]) == ["a", "b"]
        first, second = (each[2]["idempotency-key"] for each in server.requests[1:3])
        assert first == second
        with Client(server.url, patience=Patience(busy=0, gone=0)) as tes:
            assert isinstance(tes.submit_many([GOOD])[0], Unavailable)


def test_what_fits_is_counted_and_canceled(ours):
    with Client(ours.url) as tes:
        ids = tes.submit_many([GOOD, GOOD, Task(name="b", executors=GOOD.executors)])
        assert tes.cancel_matching(tags={"run": "1"}, dry_run=True) == Canceled(2, 0)
        assert tes.cancel_matching(tags={"run": ""}, name_prefix="a", states=[State.QUEUED]) == Canceled(2, 2)
        assert tes.cancel_matching(ids=[*ids, "0" * 26]) == Canceled(1, 1)
        assert tes.cancel_matching(ids=[]) == tes.cancel_matching(everything=True) == Canceled(0, 0)
        with pytest.raises(BadDocument):
            tes.cancel_matching()
        with pytest.raises(BadRequest):
            tes.cancel_matching(ids=ids, name_prefix="a")


def test_another_servers_list_is_asked_for_what_fits(others):
    with Client(others.url) as tes:
        ids = tes.submit_many([GOOD, GOOD, Task(executors=GOOD.executors)])
        assert tes.cancel_matching(tags={"run": "1"}, dry_run=True) == Canceled(2, 0)
        assert tes.cancel_matching(tags={"run": "1"}) == Canceled(2, 2)
        assert tes.cancel_matching(ids=[*ids, "nobody's"]) == Canceled(1, 1)
        assert tes.cancel_matching(everything=True) == Canceled(0, 0)


def test_the_same_from_asyncio(ours):
    async def story():
        async with AsyncClient(ours.url) as tes:
            places = await tes.submit_many([GOOD, BAD])
            assert isinstance(places[1], BadRequest)
            assert await tes.cancel_matching(everything=True) == Canceled(1, 1)

    asyncio.run(story())


def test_those_that_are_stored_are_told_of_though_the_rest_is_not():
    headers = {"Content-Type": "application/json"}
    can = (200, headers, json.dumps({"batch": True, "limits": {"batch_tasks": 1}}).encode())
    stored = (200, headers, json.dumps({"tasks": [{"id": "a"}]}).encode())
    impatient = Patience(busy=0, gone=0)
    with FakeTes(script=[can, stored, (401, {}, {})], tesk=True).serving() as server:
        with Client(server.url, patience=impatient) as tes:
            first, *rest = tes.submit_many([GOOD] * 3)
        assert (first, [type(each) for each in rest]) == ("a", [Unauthenticated] * 2)
    with (
        FakeTes(script=[can, stored, "reset"], tesk=True).serving() as server,
        Client(server.url, patience=impatient) as tes,
    ):
        assert isinstance(tes.submit_many([GOOD] * 2)[1], Unreachable)
    with (
        FakeTes(script=[can, (401, {}, {})], tesk=True).serving() as server,
        Client(server.url, patience=impatient) as tes,
        pytest.raises(Unauthenticated),
    ):
        tes.submit_many([GOOD] * 3)


def test_of_a_server_that_knows_no_filter_nothing_is_canceled_that_does_not_fit(others):
    with Client(others.url) as tes:
        tes.submit_many([GOOD, GOOD, Task(name="b", executors=GOOD.executors)])
        assert tes.cancel_matching(name_prefix="b") == Canceled(1, 1)
        assert tes.cancel_matching(name_prefix="a", tags={"run": "2"}) == Canceled(0, 0)
        assert [task.state for task in tes.list()] == [State.CANCELED, State.RUNNING, State.RUNNING]


def test_one_that_another_server_refuses_to_cancel_keeps_no_other_one(others):
    with Client(others.url) as tes:
        tes.submit_many([GOOD, GOOD])
        answers = [
            *[(200, {}, {"tasks": []})] * 2,
            (200, {}, {"tasks": [{"id": f"task-{n}", "state": "RUNNING"} for n in (1, 2)]}),
        ]
        others.script += [*answers, (409, {}, {"detail": "not now"})]
        assert tes.cancel_matching(states=[State.QUEUED, State.INITIALIZING, State.RUNNING]) == Canceled(2, 1)
        others.script += ["", (409, {}, {"detail": "not now"})]
        with pytest.raises(Conflict, match="not now"):
            tes.cancel_matching(ids=["task-1"])


def test_what_a_server_can_do_is_asked_once(ours):
    with Client(ours.url) as tes:
        for _ in range(2):
            tes.submit_many([GOOD])
            tes.cancel_matching(everything=True)
    assert b'{route="/tesk/v1/service-info",method="GET",code="200"} 1\n' in ours.get("/metrics").body
