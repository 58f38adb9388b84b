"""Who follows hears of each move once and in order, over either database, whoever writes and however often they are cut off."""

import asyncio
import contextlib
import random
import re

import pytest

from fakes.databases import opened
from fakes.tasks import new_task
from tesk.api.tail import Tail, place_at
from tesk.caller import LOCAL
from tesk.settings import ServerSettings
from tesk.tes.following import Wanted
from tesk.tes.place import Place

BOUND_SECONDS = 60
TASKS = 400
EACH = 3
"""QUEUED, CANCELING, CANCELED."""


def never():
    raise AssertionError("nobody is slow here")


async def write(store, news, seed):
    """Make tasks and cancel them, in an order of chance, many at a time."""
    waiting = []
    for new in news:
        await store.create(new)
        waiting.append(new.id)
        if len(waiting) > 8:
            await store.cancel(waiting.pop(seed.randrange(len(waiting))), LOCAL, 1.0)
    for task_id in waiting:
        await store.cancel(task_id, LOCAL, 1.0)


async def hear(tail, wanted, count, seed, cut_off):
    """Follow until so many events have come, leaving and coming again after some of them; return (task, state) in order."""
    heard, last = [], 0
    while len(heard) < count:
        follower = await tail.join(wanted, last, never)
        left = seed.randrange(1, 60) if cut_off else count
        async with contextlib.aclosing(tail.follow(follower)) as pieces:
            async for piece in pieces:
                for block in piece.decode().split("\n\n")[:-1]:
                    last = int(re.search(r"^id: (\d+)", block, re.MULTILINE)[1])
                    if said := re.search(r'"id":"(\w+)","state":"(\w+)"', block):
                        heard.append((said[1], said[2]))
                        left -= 1
                    if left == 0 or len(heard) == count:
                        break
                if left <= 0 or len(heard) == count:
                    break
        tail.leave(follower)
    return heard


@pytest.mark.parametrize("cut_off", [False, True])
def test_each_move_is_heard_once_and_in_order(database, cut_off):
    seed = random.Random(7)
    news = [new_task(owner) for owner in ("ann", "ben") for _ in range(TASKS // 2)]
    seed.shuffle(news)
    hers = [new.id for new in news if new.owner == "ann"]

    async def whole():
        async with opened(database) as store, asyncio.timeout(BOUND_SECONDS), asyncio.TaskGroup() as group:
            tail = Tail(store, asyncio.Event(), ServerSettings())
            of_all = group.create_task(hear(tail, Wanted(), EACH * TASKS, seed, cut_off))
            of_ann = group.create_task(hear(tail, Wanted(owner="ann"), EACH * len(hers), seed, cut_off))
            named = group.create_task(hear(tail, Wanted(tasks=frozenset(hers[:20])), EACH * 20, seed, cut_off))
            for half in (news[::2], news[1::2]):
                group.create_task(write(store, half, seed))
        expected = [(event.task_id, event.state) for event in await _events(database)]
        assert of_all.result() == expected
        assert of_ann.result() == [one for one in expected if one[0] in set(hers)]
        assert named.result() == [one for one in expected if one[0] in set(hers[:20])]

    asyncio.run(whole())


async def _events(database):
    async with opened(database) as store:
        return await store.events(after=0, limit=10_000)


def test_a_place_is_that_of_the_event_that_stands_there(database):
    async def whole():
        async with opened(database) as store:
            new = new_task()
            await store.create(new)
            await store.cancel(new.id, LOCAL, 1790000000.123456)
            events = await store.events(after=0, limit=10)
            assert [await place_at(store, event.position) for event in events] == [Place.of(event) for event in events]
            assert len({Place.of(event).proof for event in events}) == EACH
            beyond = events[-1].position + 1
            assert await place_at(store, beyond) == Place(beyond)
            assert await place_at(store, 0) == Place(0)

    asyncio.run(whole())


def test_another_server_s_moves_are_heard(postgres_url):
    new = new_task()

    async def whole():
        async with asyncio.timeout(BOUND_SECONDS), opened(postgres_url) as store, opened(postgres_url) as other:
            tail = Tail(store, asyncio.Event(), ServerSettings())
            async with asyncio.TaskGroup() as group:
                heard = group.create_task(hear(tail, Wanted(), EACH, random.Random(1), cut_off=False))
                await other.create(new)
                await other.cancel(new.id, LOCAL, 1.0)
            assert [state for _, state in heard.result()] == ["QUEUED", "CANCELING", "CANCELED"]

    asyncio.run(whole())


def test_who_has_much_waiting_reads_by_themselves_and_misses_nothing(database):
    news = [new_task() for _ in range(1000)]

    async def whole():
        async with opened(database) as store, asyncio.timeout(BOUND_SECONDS):
            tail = Tail(store, asyncio.Event(), ServerSettings())
            idle = await tail.join(Wanted(), None, never)
            for first in range(0, len(news), 100):
                await asyncio.gather(*(store.create(new) for new in news[first : first + 100]))
            # The other one has heard of all of them, from the same channel.
            assert len(await hear(tail, Wanted(), len(news), random.Random(1), cut_off=False)) == len(news)
            assert idle.behind
            pieces, heard = tail.follow(idle), 0
            while heard < len(news):
                heard += (await anext(pieces)).count(b"event: state")
            await pieces.aclose()
            assert heard == len(news)

    asyncio.run(whole())
