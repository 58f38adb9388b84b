"""What every store promises of servers of different sizes that share it."""

from fakes.databases import is_postgres, play
from fakes.tasks import many, new_task
from tesk.store.rows import ENDLESS, Room

SMALL, LARGE = (
    Room(cpu_cores=cores + 0.5, ram_bytes=cores * 2**40, disk_bytes=cores, gpus=cores // 4) for cores in (1, 8)
)


def test_a_server_hears_what_the_living_ones_of_other_places_have(database):
    async def story(store):
        here = await store.acquire("here", "us", 60, SMALL)
        assert await store.others(here, 0.0) == []
        for place in ("there", "elsewhere"):
            there = await store.acquire(place, "other", 60, LARGE)
        assert await store.others(here, 0.0) == [LARGE]
        assert await store.others(there, 0.0) == [SMALL, LARGE]
        await store.acquire("cluster", "queues by itself", 60)
        assert await store.others(here, 0.0) == [LARGE, ENDLESS]
        await store.release(there)
        again = await store.acquire("here", "us", 60, LARGE)
        assert await store.others(again, 0.0) == [LARGE, ENDLESS], "what this place had before counts for nothing"

    play(database, story)


def test_who_went_away_lately_counts_for_a_while_where_several_may_share_the_database(database):
    async def story(store):
        here = await store.acquire("here", "us", 60, SMALL)
        await store.acquire("there", "lost", 0.0, LARGE)
        await store.release(await store.acquire("elsewhere", "ended", 60))
        assert await store.others(here, 60.0) == ([LARGE, ENDLESS] if is_postgres(database) else [])
        assert await store.others(here, 0.0) == []

    play(database, story)


def test_those_that_fit_come_alone_where_that_is_asked_for(database):
    fits = new_task(cpu_cores=1.5, ram_bytes=2**40, disk_bytes=1)
    larger = [
        new_task(**{"cpu_cores": 1.0, "ram_bytes": 1, "disk_bytes": 0, **more})
        for more in ({"cpu_cores": 1.6}, {"ram_bytes": 2**40 + 1}, {"disk_bytes": 2}, {"gpus": 1})
    ]

    async def story(store):
        await many(store, [*larger, fits])
        assert [one.id for one in await store.waiting(limit=2, after=None, now=1.0, within=SMALL)] == [fits.id]
        assert len(await store.waiting(limit=9, after=None, now=1.0, within=LARGE)) == 5

    play(database, story)
