"""The graceful end of a controller: what runs may finish, the rest is stopped and queued again, nothing new begins."""

import asyncio

from fakes.scripted import ScriptedBackend
from fakes.world import play
from tesk.compute.backend import AttemptId
from tesk.controller import term
from tesk.store.sqlite.store import SqliteStore
from tesk.tes.state import State

WHOLE = ("STAGING", "RUNNING", "UPLOADING", "DONE")


def test_a_server_that_ends_lets_tasks_finish_then_stops_the_rest_and_queues_them_again(tmp_path):
    backend = ScriptedBackend(script=("RUNNING",))

    async def story(world):
        quick, slow = await world.submit(), await world.submit()
        await world.until(quick, "RUNNING")
        await world.until(slow, "RUNNING")
        world.controller.drain()
        late = await world.submit()
        backend.show(AttemptId(quick, 1), "DONE")
        assert await world.until(quick) == "COMPLETE"
        assert not backend.stopped
        world.controller.stop_all(10)
        await world.controller.idle()
        assert await world.state(late) == "QUEUED"
        return await world.state(slow), backend.stopped, slow, len(backend._seen), await world.states(slow)

    state, stopped, slow, left, states = play(tmp_path, backend, story)
    assert (state, stopped, left) == ("QUEUED", [(AttemptId(slow, 1), 10)], 0)
    assert states == ["QUEUED", "INITIALIZING", "RUNNING", "QUEUED"]


class SlowStore(SqliteStore):
    """Names what waits when all is submitted, and begins nothing before it is let go."""

    def __init__(self, path):
        super().__init__(path)
        self.begun = 0
        self.submitted, self.busy, self.go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def waiting(self, **asked):
        await self.submitted.wait()
        return await super().waiting(**asked)

    async def begin(self, lease, task_id, time):
        self.begun += 1
        if self.begun == term._WORKERS - 2:  # a worker or two may be about something else
            self.busy.set()
        await self.go.wait()
        return await super().begin(lease, task_id, time)


def test_what_was_chosen_but_not_begun_when_the_server_was_told_to_end_stays_queued(tmp_path):
    backend = ScriptedBackend(script=WHOLE)

    async def story(world):
        tasks = [await world.submit() for _ in range(term._WORKERS + 6)]
        world.store.submitted.set()
        await world.store.busy.wait()
        world.controller.drain()
        begun = world.store.begun
        world.store.go.set()
        async with asyncio.timeout(20):
            await world.controller.idle()
        states = [await world.state(task) for task in tasks]
        return begun, states.count("COMPLETE"), states.count("QUEUED"), len(tasks)

    begun, complete, queued, tasks = play(tmp_path, backend, story, make_store=SlowStore)
    assert (complete, queued) == (begun, tasks - begun)


def test_a_controller_with_nothing_to_do_is_idle_when_it_is_told_to_end(tmp_path):
    async def story(world):
        await world.store.changed("0" * 26, State.QUEUED, 0)
        world.controller.stop_all(0)
        await world.controller.idle()
        return True

    assert play(tmp_path, ScriptedBackend(), story)
