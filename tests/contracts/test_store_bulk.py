"""What every store promises of many tasks at once: stored whole or not at all, canceled each once."""

import asyncio

import pytest

from fakes.databases import play
from fakes.tasks import many, new_task
from tesk.caller import LOCAL, Caller
from tesk.errors import Overloaded, Unprocessable
from tesk.store.rows import Callback, ListQuery
from tesk.tes.state import ACTIVE, State
from tesk.tes.view import View

ANN = Caller("ann")


def test_many_are_stored_together_and_a_second_time_changes_nothing(database):
    callback = Callback(url="http://listener.example/", lane="http://listener.example:80 ann")
    news = [new_task("ann", tags={"n": str(n % 3)}, callback=callback if n % 2 else None) for n in range(300)]

    async def story(store):
        first = await store.create_all(news)
        again = await store.create_all(news)
        assert [one.id for one in first] == [one.id for one in again] == [new.id for new in news]
        assert not any(one.repeated for one in first)
        assert all(one.repeated for one in again)
        assert [event.task_id for event in await store.events(after=0, limit=1000)] == [new.id for new in news]
        page = await store.list(ListQuery(owner="ann", tags=(("n", "1"),), page_size=2000))
        assert len(page.marks) == 100
        assert (await store.outbox.backlog()).pending == 150
        assert await store.check() == []

    play(database, story)


def test_while_too_many_wait_none_of_many_is_stored_but_many_alone_may_be_more_than_may_wait(database):
    news, others = ([new_task() for _ in range(20)] for _ in range(2))

    async def story(store):
        assert len(await store.create_all(news)) == 20
        waiting = [store.create(new_task()) for _ in range(5)]
        with pytest.raises(Overloaded):
            await store.create_all(others)
        await asyncio.gather(*waiting)
        assert len(await store.events(after=0, limit=1000)) == 25

    play(database, story, pending_limit=5)


def test_an_id_is_kept_under_a_key_for_the_one_body_that_it_came_with(database):
    async def story(store):
        assert await store.remember("ann", "k", b"x", "first", 1000.0) == "first"
        assert await store.remember("ann", "k", b"x", "second", 2000.0) == "first"
        assert await store.remember("ben", "k", b"y", "third", 2000.0) == "third"
        with pytest.raises(Unprocessable):
            await store.remember("ann", "k", b"y", "fourth", 2000.0)
        assert await store.remember("ann", "k", b"y", "fifth", 1000.0 + 24 * 3600) == "fifth"
        kept = await asyncio.gather(*(store.remember("ann", "l", b"x", f"id{n}", 2000.0) for n in range(8)))
        assert len(set(kept)) == 1

    play(database, story)


def test_of_many_those_are_canceled_that_are_the_callers_and_in_one_of_the_states(database):
    mine, others = [new_task("ann") for _ in range(5)], [new_task("ben") for _ in range(2)]

    async def story(store):
        await many(store, [*mine, *others])
        lease = await store.acquire("here", "server", 60)
        await store.begin(lease, mine[0].id, 1.0)
        await store.begin(lease, mine[1].id, 1.0)
        ids = [task.id for task in (*mine, *others)]
        moved = await store.cancel_all(ids, ANN, {State.INITIALIZING}, 2.0)
        assert sorted(moved) == [task.id for task in mine[:2]]
        assert sorted(await store.cancel_all(ids, ANN, ACTIVE, 3.0)) == [task.id for task in mine[2:]]
        assert await store.cancel_all([*ids, "0" * 26], ANN, ACTIVE, 4.0) == []
        assert await store.cancel_all([], LOCAL, ACTIVE, 5.0) == []
        assert set(await store.cancel_all(ids, LOCAL, ACTIVE, 6.0)) == {task.id for task in others}
        states = {task.id: task.state for task in await store.tasks(ids, View.MINIMAL)}
        assert [states[one] for one in ids] == [State.CANCELING] * 2 + [State.CANCELED] * 5
        told = [event.state for event in await store.events(after=0, limit=100, task_ids=(mine[2].id,))]
        assert told == [State.QUEUED, State.CANCELING, State.CANCELED]
        assert set(await store.canceling(lease)) == {mine[0].id, mine[1].id}
        assert await store.check() == []

    play(database, story)


def test_of_two_who_cancel_the_same_at_once_each_task_is_canceled_by_one(database):
    news = [new_task() for _ in range(50)]

    async def story(store):
        await many(store, news)
        ids = [new.id for new in news]
        moved = await asyncio.gather(*(store.cancel_all(ids[n:], LOCAL, ACTIVE, 2.0) for n in range(4)))
        assert sorted(one for some in moved for one in some) == ids
        assert await store.check() == []

    play(database, story)
