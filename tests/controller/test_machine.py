"""A state machine over store and controller: whatever happens in whatever order, what must always be true is true.

Each step lets the controller do all that it can, on a real SQLite file and a backend whose attempts move when the machine
says so. A crash drops the controller and the store without a word and starts new ones on what is left.
"""

import asyncio
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace

from fakes.scripted import ScriptedBackend, small
from fakes.world import QUICK, World
from tesk.compute.backend import Phase
from tesk.settings import ControllerSettings, LimitsSettings
from tesk.store.sqlite.store import SqliteStore
from tesk.tes.state import TERMINAL, State, may_move

ORDER = [Phase.STAGING, Phase.RUNNING, Phase.UPLOADING]
ENDS = [Phase.DONE, Phase.EXECUTOR_FAILED, Phase.SYSTEM_FAILED, Phase.PREEMPTED]
SETTINGS = replace(
    QUICK,
    # Leases end only by the rule that ends them; no time passes but what the steps need.
    controller=ControllerSettings(lease_seconds=3600, sweep_seconds=0.02, retry_seconds=0.0),
    limits=LimitsSettings(attempts=3, attempts_in_all=6),
)


class Tasks(RuleBasedStateMachine):
    """What clients, the machine and fate can do."""

    tasks = Bundle("tasks")

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="tesk-machine-")
        self.backend = ScriptedBackend(capacity=small(cores=3))
        self.known: list[str] = []
        self.ended: dict[str, State] = {}
        self.runner.run(self._start())

    async def _start(self):
        self.store = SqliteStore(Path(self.folder.name) / "tesk.db")
        await self.store.open()
        self.world = World(self.store, self.backend, SETTINGS)
        self.loops = asyncio.create_task(self.world.controller.run())
        await self._settle()

    async def _stop(self):
        self.loops.cancel()
        await asyncio.gather(self.loops, return_exceptions=True)
        await self.store.close()

    async def _settle(self):
        """Let the controller come to rest: several sweeps after which nothing has changed."""
        still, last = 0, None
        async with asyncio.timeout(20):
            while still < 3:
                await asyncio.sleep(0.02)
                events = await self.store.events(after=0, limit=10_000)
                now = (len(events), dict(self.backend._seen), len(self.backend.began))
                still, last = (still + 1, last) if now == last else (0, now)

    def teardown(self):
        self.runner.run(self._stop())
        self.runner.close()
        self.folder.cleanup()

    # -- what can happen ----------------------------------------------------------------------------------------------
    @rule(target=tasks, cpu=st.sampled_from([0.5, 1, 2, 3]))
    def submit(self, cpu):
        async def step():
            task = await self.world.submit(cpu=cpu)
            await self._settle()
            return task

        self.known.append(self.runner.run(step()))
        return self.known[-1]

    @rule(task=tasks)
    def cancel(self, task):
        async def step():
            await self.world.cancel(task)
            await self._settle()

        self.runner.run(step())

    @rule(task=tasks, steps=st.integers(1, 3))
    def go_on(self, task, steps):
        self._show(task, lambda phase: ORDER[min(ORDER.index(phase) + steps, len(ORDER) - 1)])

    @rule(task=tasks, phase=st.sampled_from(ENDS), ours=st.booleans(), final=st.booleans())
    def end(self, task, phase, ours, final):
        self._show(task, lambda _: phase, reason="it ended", ours=ours, final=final)

    def _show(self, task, following, **more):
        async def step():
            for attempt in self.backend.running(task):
                self.backend.show(attempt, following(self.backend._seen[attempt].phase), **more)
            await self._settle()

        self.runner.run(step())

    @rule()
    def crash(self):
        async def step():
            await self._stop()
            await self._start()

        self.runner.run(step())

    @rule()
    def lose_everything_that_runs(self):
        """As when the server dies and its attempts with it."""

        async def step():
            await self._stop()
            for attempt, seen in list(self.backend._seen.items()):
                if not seen.phase.ended:
                    self.backend.show(attempt, Phase.PREEMPTED, reason="the server went away", ours=True)
            await self._start()

        self.runner.run(step())

    @rule()
    def lose_the_lease(self):
        async def step():
            for lease in list(self.store._leases._ends):
                self.store._leases.drop(lease)
            # Found out at the next write; a task that goes on makes one.
            await self._stop()
            await self._start()

        self.runner.run(step())

    # -- what must be true ------------------------------------------------------------------------------------------------
    @invariant()
    def no_task_runs_twice_at_once_and_capacity_is_kept(self):
        assert self.backend.most <= 1
        assert len(self.backend.began) == len(set(self.backend.began))

    @invariant()
    def every_move_is_legal_and_an_end_is_the_end(self):
        async def look():
            for task in self.known:
                states = [State(state) for state in await self.world.states(task)]
                assert all(may_move(old, new) for old, new in pairwise(states)), states
                assert states[-1] is await self.world.state(task)
                assert self.ended.setdefault(task, states[-1]) is states[-1] or self.ended[task] not in TERMINAL
                if states[-1] in TERMINAL:
                    self.ended[task] = states[-1]
                else:
                    del self.ended[task]

        self.runner.run(look())

    @invariant()
    def what_waits_or_has_ended_has_nothing_on_the_backend(self):
        async def look():
            for attempt in self.backend._seen:
                assert await self.world.state(attempt.task_id) in {State.INITIALIZING, State.RUNNING}

        self.runner.run(look())

    @invariant()
    def the_database_is_sound(self):
        assert self.runner.run(self.store.check()) == []


@pytest.mark.parametrize("examples", [6, pytest.param(60, marks=pytest.mark.faults)])
def test_whatever_happens_in_whatever_order_what_must_be_true_is_true(examples):
    run_state_machine_as_test(
        Tasks,
        settings=settings(
            max_examples=examples, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
