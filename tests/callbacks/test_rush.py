"""While many submissions are under way few callbacks are sent, and more the longer something waits; then all there are."""

import uvloop

from fakes.listener import listening
from fakes.sending import sending, settled, subscribe
from tesk.store.outbox import Status
from tesk.telemetry.rush import Rush

MANY = 16


def test_the_most_at_once_since_the_last_look_is_a_rush_also_where_none_is_under_way_now():
    rush = Rush()
    for _ in range(MANY):
        rush.begin()
    for _ in range(MANY):
        rush.end()
    assert (rush.most(), rush.most()) == (MANY, 0)


def test_few_are_told_in_a_rush_and_all_once_it_is_over(tmp_path):
    async def story():
        rush = Rush()
        for _ in range(MANY):
            rush.begin()
        with listening() as good:
            async with sending(str(tmp_path / "tesk.db"), rush=rush) as store:
                tasks = [await subscribe(store, good.url) for _ in range(400)]
                await settled(store, tasks[0])
                assert (await store.outbox.backlog()).pending > 200
                for _ in range(MANY):
                    rush.end()
                for task in tasks:
                    assert [one.status for one in await settled(store, task)] == [Status.DELIVERED]

    uvloop.run(story())


def test_what_has_waited_long_is_told_in_the_middle_of_a_rush(tmp_path):
    async def story():
        rush = Rush()
        for _ in range(MANY):
            rush.begin()
        with listening() as good:
            async with sending(str(tmp_path / "tesk.db"), rush=rush) as store:
                tasks = [await subscribe(store, good.url, age_seconds=3600) for _ in range(100)]
                for task in tasks:
                    assert [one.status for one in await settled(store, task)] == [Status.DELIVERED]

    uvloop.run(story())
