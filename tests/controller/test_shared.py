"""A backend that queues by itself and that several servers share: how much is started, what is looked at, what is left alone."""

import asyncio
import contextlib

from msgspec.structs import replace

from fakes.scripted import AbsentBackend, ScriptedBackend
from fakes.world import QUICK, World, play
from tesk.compute.backend import AttemptId
from tesk.settings import ControllerSettings
from tesk.store.sqlite.store import SqliteStore

SWEPT = replace(QUICK, controller=ControllerSettings(sweep_seconds=0.05, retry_seconds=0.01))


class Told(ScriptedBackend):
    """Tells of all that changes, as a cluster that is watched does. `looked` counts looks by task."""

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.looked: dict[str, int] = {}

    def tells_all(self):
        return True

    async def observe(self, attempt):
        self.looked[attempt.task_id] = self.looked.get(attempt.task_id, 0) + 1
        return await super().observe(attempt)


async def swept(store, times):
    """Wait until the servers of a store have looked for what is theirs so often."""
    claims, enough, seen = store.claims, asyncio.Event(), []

    async def counted(lease):
        seen.append(lease)
        if len(seen) == times:
            enough.set()
        return await claims(lease)

    store.claims = counted
    async with asyncio.timeout(20):
        await enough.wait()
    store.claims = claims


def test_no_more_is_started_than_there_is_room_for(tmp_path):
    backend = ScriptedBackend()
    backend.most_running = 2

    async def story(world):
        tasks = [await world.submit() for _ in range(4)]
        await backend.until(lambda: len(backend.began) == 2)
        assert [await world.state(task) for task in tasks[2:]] == ["QUEUED", "QUEUED"]
        backend.show(AttemptId(tasks[0], 1), "DONE")
        await backend.until(lambda: len(backend.began) == 3)
        assert await world.state(tasks[3]) == "QUEUED"
        backend.show(AttemptId(tasks[1], 1), "DONE")
        await backend.until(lambda: len(backend.began) == 4)

    play(tmp_path, backend, story)


def test_what_tells_of_all_that_changes_is_not_looked_at_by_each_sweep(tmp_path):
    backend = Told(script=("RUNNING",))

    async def story(world):
        tasks = [await world.submit() for _ in range(20)]
        for task in tasks:
            await world.until(task, "RUNNING")
        before = sum(backend.looked.values())
        await swept(world.store, 10)
        # One in turn at a time; those that were only just started are looked at once more.
        assert sum(backend.looked.values()) - before <= 12 + len(tasks)
        for task in tasks:
            backend.show(AttemptId(task, 1), "DONE")
            assert await world.until(task) == "COMPLETE"

    play(tmp_path, backend, story, SWEPT)


def test_two_servers_of_one_place_leave_each_others_attempts_alone(tmp_path):
    async def run():
        backend = Told(script=("RUNNING",))
        backend.shared = True
        other = Told(script=("RUNNING",))
        other.shared = True
        other._seen, other._moved = backend._seen, backend._moved  # one cluster, seen by both
        store = SqliteStore(tmp_path / "tesk.db")
        await store.open()
        try:
            first, second = (World(store, each, SWEPT) for each in (backend, other))
            async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(first.moving())
                tasks = [await first.submit() for _ in range(6)]
                for task in tasks:
                    await first.until(task, "RUNNING")
                await stack.enter_async_context(second.moving())
                after = await second.submit()
                await second.until(after, "RUNNING")
                await swept(store, 10)
                assert {attempt.task_id for attempt in backend._seen} == {*tasks, after}
                assert backend.stopped + other.stopped == []
                orphan = AttemptId("gone", 1)
                await backend.start(orphan, None)
                await backend.until(lambda: orphan not in backend._seen)
        finally:
            await store.close()

    asyncio.run(run())


def test_why_a_start_is_put_off_is_said_at_once(tmp_path):
    backend = AbsentBackend(script=("RUNNING", "DONE"))

    async def story(world):
        task = await world.submit()
        await world.until(task)
        assert await world.notes(task) == ["The cluster does not answer"]

    play(tmp_path, backend, story)
