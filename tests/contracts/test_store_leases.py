"""What every store promises of leases: what they give a right to, what follows their end, who hears of it."""

import asyncio

import pytest

from fakes.databases import play
from fakes.tasks import new_task, running, told
from tesk.caller import LOCAL
from tesk.errors import LeaseLost
from tesk.store.rows import Move
from tesk.tes.state import State


async def lost_lease(store, place="there"):
    """Take a lease that ends at once."""
    return await store.acquire(place, "lost", 0.0)


def test_a_lease_that_ended_gives_no_right_to_anything(database):
    async def story(store):
        lease = await store.acquire("here", "test", 60)
        task = await running(store, lease)
        queued = new_task()
        await store.create(queued)
        lost = await lost_lease(store)
        assert lost.id != lease.id
        for verb in (
            store.renew(lost, 60),
            store.begin(lost, queued.id, 1.0),
            store.refuse(lost, queued.id, "no", 1.0),
            store.adopt(lost, task.id),
        ):
            with pytest.raises(LeaseLost):
                await verb
        renewed = await store.renew(lease, 0.0)
        assert renewed.id == lease.id
        with pytest.raises(LeaseLost):
            await store.renew(lease, 60)
        end = Move(task_id=task.id, attempt=1, old=State.RUNNING, new=State.COMPLETE, time=3.0)
        assert not await store.move(lease, end)
        assert await told(store, queued.id) == [State.QUEUED]
        assert await told(store, task.id) == [State.QUEUED, State.INITIALIZING, State.RUNNING]

    play(database, story)


def test_only_what_no_living_lease_holds_is_taken_over_and_then_the_first_is_not_believed(database):
    async def story(store):
        first, second = [await store.acquire(place, "test", 60) for place in ("here", "there")]
        task = await running(store, first)
        assert await store.unheld(limit=9) == []
        assert not await store.adopt(second, task.id)
        await store.release(first)
        await store.release(first)
        (found,) = await store.unheld(limit=9)
        assert (found.id, found.place, found.attempt, found.state) == (task.id, "here", 1, State.RUNNING)
        assert 0.0 <= found.unheld_seconds < 30.0
        assert await store.adopt(second, task.id)
        assert not await store.adopt(second, new_task().id)
        assert await store.unheld(limit=9) == []
        end = Move(task_id=task.id, attempt=1, old=State.RUNNING, new=State.COMPLETE, time=3.0)
        assert not await store.move(first, end)
        (held,) = await store.claimed(second)
        assert (held.place, held.unheld_seconds) == ("here", None)
        assert await store.move(second, end)

    play(database, story)


def test_of_two_that_take_over_one_does(database):
    async def story(store):
        first = await store.acquire("here", "test", 60)
        tasks = [(await running(store, first)).id for _ in range(10)]
        await store.renew(first, 0.0)
        rivals = [await store.acquire(place, "test", 60) for place in ("here", "there")]
        took = await asyncio.gather(*(store.adopt(rival, task) for task in tasks for rival in rivals))
        assert sum(took) == 10
        assert sum([len(await store.claimed(rival)) for rival in rivals]) == 10

    play(database, story)


def test_what_nobody_holds_is_listed_page_by_page(database):
    async def story(store):
        first = await store.acquire("here", "test", 60)
        tasks = sorted([(await running(store, first)).id for _ in range(5)])
        await store.cancel(tasks[0], LOCAL, 3.0)
        await store.release(first)
        page = await store.unheld(limit=2)
        assert [one.id for one in page] == tasks[:2]
        assert page[0].state is State.CANCELING
        assert [one.id for one in await store.unheld(limit=9, after=tasks[1])] == tasks[2:]

    play(database, story)


def test_who_waits_for_work_hears_of_cancels_retries_and_released_leases(database):
    async def story(store):
        lease = await store.acquire("here", "test", 60)
        tasks = [(await running(store, lease)).id for _ in range(2)]
        back = Move(task_id=tasks[1], attempt=1, old=State.RUNNING, new=State.QUEUED, time=3.0)
        for verb in (store.cancel(tasks[0], LOCAL, 3.0), store.move(lease, back), store.release(lease)):
            async with asyncio.timeout(20):
                await store.work(0.0)
                await verb
                await store.work(60)

    play(database, story)


def test_who_waits_for_work_is_told_whether_something_is_to_be_canceled(database):
    async def story(store):
        lease = await store.acquire("here", "test", 60)
        claimed = await running(store, lease)
        async with asyncio.timeout(20):
            while await store.work(60):  # a connection that was just made may have missed something
                await store.create(new_task())
            await store.cancel(claimed.id, LOCAL, 3.0)
            await store.create(new_task())
            while not await store.work(60):
                pass

    play(database, story)


def test_a_new_lease_of_a_place_ends_the_one_before_it(database):
    async def story(store):
        first = await store.acquire("here", "test", 60)
        task = await running(store, first)
        other = await store.acquire("there", "test", 60)
        cluster = [await store.acquire("", "test", 60) for _ in range(2)]
        second = await store.acquire("here", "test", 60)
        with pytest.raises(LeaseLost):
            await store.renew(first, 60)
        for lease in (other, *cluster, second):
            await store.renew(lease, 60)
        assert await store.adopt(second, task.id)

    play(database, story)


def test_what_is_to_be_canceled_is_named(database):
    async def story(store):
        lease, other = [await store.acquire(place, "test", 60) for place in ("here", "there")]
        task, _, foreign = [(await running(store, by)).id for by in (lease, lease, other)]
        for one in (task, foreign):
            await store.cancel(one, LOCAL, 3.0)
        assert list(await store.canceling(lease)) == [task]

    play(database, story)
