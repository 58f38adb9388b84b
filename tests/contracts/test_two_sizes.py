"""Two servers of different size on one database: what is too large for one waits for the other, for as long as there is one."""

import asyncio
import contextlib

import pytest

from fakes.databases import BOUND_SECONDS, is_postgres, opened, raw
from fakes.scripted import ScriptedBackend, small
from fakes.world import World
from tesk.controller.admission import room
from tesk.settings import ControllerSettings, LocalSettings, Settings
from tesk.tes.state import State

WINDOW = 256


@contextlib.asynccontextmanager
async def two(database, lost_seconds=0):
    """Give a small server and a large one, not moving yet. A file has one server, which may well have two controllers."""
    settings = Settings(
        controller=ControllerSettings(sweep_seconds=0.2, retry_seconds=0.01),
        local=LocalSettings(host_lost_seconds=lost_seconds),
    )
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(opened(database))
        second = await stack.enter_async_context(opened(database)) if is_postgres(database) else first
        await stack.enter_async_context(asyncio.timeout(BOUND_SECONDS))
        yield (
            World(first, ScriptedBackend("small", small(cores=1), ("RUNNING", "DONE")), settings),
            World(second, ScriptedBackend("large", small(cores=8), ("RUNNING",)), settings),
        )


def test_what_only_the_larger_server_can_run_waits_for_it_and_is_in_nobodys_way(database):
    async def story():
        async with two(database) as (little, large), large.moving():
            running = await large.submit(cpu=8)
            await large.until(running, "RUNNING")
            async with little.moving():
                waiting = await asyncio.gather(*(large.submit(cpu=4) for _ in range(WINDOW + 1)))
                assert await little.until(await little.submit(cpu=1)) == "COMPLETE"
                never = await little.submit(cpu=16)
                assert await little.until(never) == "SYSTEM_ERROR"
                assert (await little.store.counts())[State.QUEUED] == len(waiting)
                large.backend.script = ("RUNNING", "DONE")
                large.backend.show(large.backend.began[0], "DONE")
                assert await large.until(max(waiting)) == "COMPLETE"
                assert len(little.backend.began) == 1

    asyncio.run(story())


def test_where_all_servers_were_down_the_first_one_that_is_back_waits_for_the_others(database):
    async def story():
        async with two(database, lost_seconds=1000) as (little, large):
            await large.store.acquire("large", "before", 0.0, room(await large.backend.capacity()))
            await asyncio.to_thread(raw, database, "UPDATE lease SET expires = expires - 10000")
            waiting = await little.submit(cpu=4)
            async with little.moving():
                assert await little.until(await little.submit(cpu=16)) == "SYSTEM_ERROR"
                assert await little.state(waiting) == "QUEUED"
                async with large.moving():
                    await large.until(waiting, "RUNNING")

    if not is_postgres(database):
        pytest.skip("a file has one server")
    asyncio.run(story())


def test_what_nobody_else_can_run_any_more_is_refused(database):
    async def story():
        async with two(database) as (little, large), contextlib.AsyncExitStack() as there:
            await there.enter_async_context(large.moving())
            await large.until(await large.submit(cpu=8), "RUNNING")
            waiting = await large.submit(cpu=4)
            async with little.moving():
                assert await little.until(await little.submit(cpu=1)) == "COMPLETE"
                assert await little.state(waiting) == "QUEUED"
                await there.aclose()
                assert await little.until(waiting) == "SYSTEM_ERROR"
                assert "Can never run here" in (await little.notes(waiting))[0]

    asyncio.run(story())
