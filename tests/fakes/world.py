"""A controller at work on a real SQLite file and a scripted backend, for stories that need no HTTP."""

import asyncio
import contextlib
import time

import msgspec

from tesk.caller import LOCAL
from tesk.compute.plan import gpus_of
from tesk.controller.run import Controller
from tesk.settings import ControllerSettings, Settings
from tesk.store.rows import NewTask
from tesk.store.sqlite.store import SqliteStore
from tesk.telemetry.metrics import Metrics
from tesk.tes.ids import Ids
from tesk.tes.state import TERMINAL, State
from tesk.tes.task import Executor, Extension, Resources, Task
from tesk.tes.view import View

QUICK = Settings(controller=ControllerSettings(lease_seconds=30, sweep_seconds=30, retry_seconds=0.01))
"""Settings under which a story takes no time. The sweep is slow on purpose: signals must do."""


class Counted(Metrics):
    """Remembers what it was told."""

    def __init__(self):
        super().__init__()
        self.waited: list[float] = []
        self.ended_as: list[str] = []

    def started(self, waited_seconds):
        self.waited.append(waited_seconds)

    def ended(self, state, ran_seconds):
        self.ended_as.append(state)


class World:
    """What a story needs: submit, cancel, wait for a state, and the controller itself."""

    def __init__(self, store, backend, settings=QUICK, clock=time.time, refusal=lambda _: None):
        self.store = store
        self.backend = backend
        self.metrics = Counted()
        self._ids = Ids()
        self.controller = Controller(
            store, backend, settings, name="test", metrics=self.metrics, clock=clock, refusal=refusal
        )

    async def submit(self, name="", parameters=None, cpu=1.0, ram=10**9, inputs=None):
        """Store a task and return its id."""
        task = Task(
            name=name,
            inputs=inputs,
            executors=(Executor(image="i", command=("true",)),),
            resources=Resources(backend_parameters=parameters),
        )
        new = NewTask(
            id=self._ids.make(time.time()),
            owner=LOCAL.name,
            name=name,
            body=msgspec.json.encode(task),
            extension=Extension(),
            tags={},
            cpu_cores=cpu,
            ram_bytes=ram,
            disk_bytes=0,
            gpus=gpus_of(task),
            created=time.time(),
        )
        return (await self.store.create(new)).id

    async def cancel(self, task_id):
        return await self.store.cancel(task_id, LOCAL, time.time())

    async def state(self, task_id):
        return (await self.store.get(task_id, LOCAL, View.MINIMAL)).state

    async def until(self, task_id, *states):
        """Wait until a task is in one of `states` (default: has ended) and return which."""
        wanted = {State(state) for state in states} or TERMINAL
        async with asyncio.timeout(20):
            while (state := await self.state(task_id)) not in wanted:
                assert state not in TERMINAL, f"{task_id} ended {state}: {await self.notes(task_id)}"
                await self.store.changed(task_id, state, 5)
        return state

    async def logs(self, task_id):
        """Return all sentences in a task's TaskLogs, one list an attempt."""
        task = await self.store.get(task_id, LOCAL, View.FULL)
        return [msgspec.json.decode(attempt.system_logs or b"[]") for attempt in task.attempts]

    async def notes(self, task_id):
        return [note for attempt in await self.logs(task_id) for note in attempt]

    async def states(self, task_id):
        """Return the states of a task's events, having looked that no sequence number is missing."""
        events = await self.store.events(after=0, limit=1000, task_ids=(task_id,))
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        return [event.state.value for event in events]

    @contextlib.asynccontextmanager
    async def moving(self):
        """Run the controller for a while."""
        loops = asyncio.create_task(self.controller.run())
        try:
            yield
        finally:
            loops.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await loops


def play(path, backend, story, settings=QUICK, make_store=SqliteStore, **more):
    """Run a story, `async def story(world)`, with the controller moving."""

    async def run():
        store = make_store(path / "tesk.db")
        await store.open()
        try:
            world = World(store, backend, settings, **more)
            async with asyncio.timeout(60), world.moving():
                return await story(world)
        finally:
            await store.close()

    return asyncio.run(run())
