"""While many submissions are under way few callbacks are sent, and more the longer something waits; then all there are."""

import contextlib

import pytest
import uvloop

from fakes.listener import listening
from fakes.sending import sending, settled, subscribe
from tesk.store.outbox import Status
from tesk.telemetry.rush import Rush

MANY = 16


@contextlib.asynccontextmanager
async def told_in_a_rush(database, tasks, age_seconds):
    """Yield a store whose outbox is sent, its tasks, and what is under way."""
    rush = Rush()
    for _ in range(MANY):
        rush.begin()
    with listening() as good:
        async with sending(database, rush=rush) as store:
            yield store, [await subscribe(store, good.url, age_seconds=age_seconds) for _ in range(tasks)], rush


async def check_delivered(store, tasks):
    for task in tasks:
        assert [one.status for one in await settled(store, task)] == [Status.DELIVERED]


@pytest.fixture
def database(tmp_path):
    return str(tmp_path / "tesk.db")


def test_the_most_at_once_since_the_last_look_is_a_rush_also_where_none_is_under_way_now():
    rush = Rush()
    for _ in range(MANY):
        rush.begin()
    for _ in range(MANY):
        rush.end()
    assert (rush.most(), rush.most()) == (MANY, 0)


def test_few_are_told_in_a_rush_and_all_once_it_is_over(database):
    async def story():
        async with told_in_a_rush(database, 400, age_seconds=0) as (store, tasks, rush):
            await settled(store, tasks[0])
            assert (await store.outbox.backlog()).pending > 200
            for _ in range(MANY):
                rush.end()
            await check_delivered(store, tasks)

    uvloop.run(story())


def test_what_has_waited_long_is_told_in_the_middle_of_a_rush(database):
    async def story():
        async with told_in_a_rush(database, 100, age_seconds=3600) as (store, tasks, _):
            await check_delivered(store, tasks)

    uvloop.run(story())
