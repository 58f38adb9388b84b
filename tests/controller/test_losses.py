"""The controller when something is lost: the lease, the database, the server before, its host."""

import asyncio

import pytest
from msgspec.structs import replace

from fakes.flaky import FlakyStore
from fakes.scripted import ScriptedBackend, small
from fakes.world import QUICK, World, play
from tesk.compute.backend import AttemptId
from tesk.controller.lease import Tenure
from tesk.errors import LeaseLost
from tesk.settings import ControllerSettings, LimitsSettings, LocalSettings
from tesk.store.rows import Lease
from tesk.store.sqlite.store import SqliteStore

WHOLE = ("STAGING", "RUNNING", "UPLOADING", "DONE")


def test_a_lost_lease_is_followed_by_a_new_one_that_takes_over_what_runs(tmp_path):
    backend = ScriptedBackend(script=("RUNNING",))

    async def story(world):
        task = await world.submit()
        await world.until(task, "RUNNING")
        # As another server would, had this one been silent for too long.
        for lease in list(world.store._leases._ends):
            world.store._leases.drop(lease)
        backend.show(AttemptId(task, 1), "DONE")
        return await world.until(task), len(backend.began)

    settings = replace(QUICK, controller=ControllerSettings(lease_seconds=0.3))
    assert play(tmp_path, backend, story, settings) == ("COMPLETE", 1)


def test_what_another_server_has_taken_over_is_ended_by_the_one_that_was_late(tmp_path):
    backend = ScriptedBackend(script=("RUNNING",))

    async def story(world):
        task = await world.submit()
        await world.until(task, "RUNNING")
        other = await world.store.acquire("there", "other", 30)
        for lease in world.store._leases._ends.keys() - {other.id}:
            world.store._leases.drop(lease)
        assert await world.store.adopt(other, task)
        await backend.until(lambda: not backend._seen)
        return await world.state(task), [held.id for held in await world.store.claimed(other)] == [task]

    settings = replace(QUICK, controller=ControllerSettings(lease_seconds=0.3))
    assert play(tmp_path, backend, story, settings) == ("RUNNING", True)


class TwoPlaces(ScriptedBackend):
    """May act on what a server at `there` left, as soon as that one is not `working`."""

    working = True

    def owns(self, place):
        return place in {self.place, "there"}

    def abandoned(self, place):
        return place == self.place or (place == "there" and not self.working)

    async def forget(self, attempt, place=None):
        if place == "there":
            self.emptied.append(attempt)
        await super().forget(attempt, place)


@pytest.mark.parametrize(("asked", "ends"), [(False, "COMPLETE"), (True, "CANCELED")])
def test_what_a_silent_server_of_this_host_left_is_emptied_and_done_here_once_it_does_not_work(tmp_path, asked, ends):
    there = ScriptedBackend(place="there", script=("RUNNING",))

    async def before(world):
        task = await world.submit()
        await world.until(task, "RUNNING")
        return task

    task = play(tmp_path, there, before)
    here = TwoPlaces(place="here", script=WHOLE)
    here.emptied = []

    async def after(world):
        if asked:
            await world.cancel(task)
        # Time for some sweeps.
        for _ in range(3):
            await world.until(await world.submit())
        assert await world.state(task) == ("CANCELING" if asked else "RUNNING")
        here.working = False
        return await world.until(task), (await world.states(task))[3:]

    settings = replace(QUICK, controller=ControllerSettings(sweep_seconds=0.05))
    state, states = play(tmp_path, here, after, settings)
    assert state == ends
    assert states == (["CANCELING", "CANCELED"] if asked else ["QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"])
    assert set(here.emptied) == {AttemptId(task, 1)}
    assert here.began.count(AttemptId(task, 2)) == (0 if asked else 1)


class DiesStopping(ScriptedBackend):
    """Its attempts end when they are asked to, and the server that asked hears no more of it."""

    async def stop(self, attempt, grace_seconds):
        self.stopped.append((attempt, grace_seconds))
        self._tell()
        await asyncio.Event().wait()


@pytest.mark.parametrize(("limit", "ends", "attempts"), [("0.2", "SYSTEM_ERROR", 1), ("600", "COMPLETE", 2)])
def test_a_server_that_dies_while_it_has_an_attempt_end_leaves_word_of_whose_end_it_was(
    tmp_path, limit, ends, attempts
):
    """By a time limit it is the task's, which is not tried again; by the server's own end it is no failure that counts."""
    once = replace(QUICK, limits=LimitsSettings(attempts=1))
    before, after = DiesStopping(script=("RUNNING",)), ScriptedBackend(script=WHOLE)

    async def dies(world):
        task = await world.submit(parameters={"time_limit_seconds": limit})
        await world.until(task, "RUNNING")
        if limit == "600":
            world.controller.stop_all(5)
        await before.until(lambda: before.stopped)
        return task

    task = play(tmp_path, before, dies, once)
    after.show(AttemptId(task, 1), "PREEMPTED", reason="The pod was deleted by somebody else")

    async def comes(world):
        return await world.until(task), await world.logs(task)

    state, logs = play(tmp_path, after, comes, once)
    assert (state, len(logs)) == (ends, attempts)
    assert any("longer than its time limit of 0.2 s" in said for said in logs[0]) == (ends == "SYSTEM_ERROR")


def test_a_database_that_is_gone_for_a_while_stops_nothing_and_starts_nothing_twice(tmp_path):
    backend = ScriptedBackend(script=("RUNNING",), capacity=small(cores=4))

    async def story(world):
        tasks = [await world.submit() for _ in range(4)]
        for task in tasks:
            await world.until(task, "RUNNING")
        world.store.gone = True
        for task in tasks:
            backend.show(AttemptId(task, 1), "DONE")
        for _ in range(8):
            await world.store.failures.get()
        world.store.gone = False
        for task in tasks:
            assert await world.until(task) == "COMPLETE"
            assert await world.states(task) == ["QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"]
        return len(backend.began)

    assert play(tmp_path, backend, story, make_store=FlakyStore) == 4


def test_a_server_that_ends_without_its_database_gives_what_runs_its_grace_all_the_same(tmp_path):
    backend = ScriptedBackend(script=("RUNNING",))

    async def story(world):
        task = await world.submit()
        await world.until(task, "RUNNING")
        world.store.gone = True
        world.controller.stop_all(7)
        await backend.until(lambda: backend.stopped)
        world.store.gone = False
        return backend.stopped == [(AttemptId(task, 1), 7)]

    assert play(tmp_path, backend, story, make_store=FlakyStore)


@pytest.mark.parametrize("seed", range(4))
def test_answers_that_get_lost_at_random_change_nothing_in_the_end(tmp_path, seed):
    backend = ScriptedBackend(script=WHOLE, capacity=small(cores=8))

    async def story(world):
        world.store.chance = 0.2
        tasks = [await world.submit() for _ in range(100)]
        for number, task in enumerate(tasks):
            assert await world.until(task) == "COMPLETE"
            assert await world.states(task) == ["QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"], number
        world.store.chance = 0.0
        assert world.store.failures.qsize() > 20
        return sorted(backend.began) == sorted(AttemptId(task, 1) for task in tasks), backend.most

    settings = replace(QUICK, controller=ControllerSettings(sweep_seconds=0.5))
    assert play(tmp_path, backend, story, settings, make_store=lambda path: FlakyStore(path, seed=seed)) == (True, 1)


def test_a_server_that_comes_back_goes_on_with_what_its_place_still_runs(tmp_path):
    backend = ScriptedBackend(script=("RUNNING",))

    async def before(world):
        task = await world.submit()
        await world.until(task, "RUNNING")
        return task

    task = play(tmp_path, backend, before)
    backend._changes, backend._moved = asyncio.Queue(), asyncio.Event()

    async def after(world):
        backend.show(AttemptId(task, 1), "DONE")
        return await world.until(task), len(backend.began)

    assert play(tmp_path, backend, after) == ("COMPLETE", 1)


def test_a_task_that_was_begun_but_not_started_before_a_crash_is_started(tmp_path):
    async def before():
        store = SqliteStore(tmp_path / "tesk.db")
        await store.open()
        world = World(store, ScriptedBackend())
        task = await world.submit()
        await store.begin(await store.acquire("here", "old", 30), task, 1.0)
        await store.close()
        return task

    task = asyncio.run(before())
    backend = ScriptedBackend(script=WHOLE)

    async def after(world):
        return await world.until(task), backend.began

    assert play(tmp_path, backend, after) == ("COMPLETE", [AttemptId(task, 1)])


class LateStore(SqliteStore):
    """Answers late what it is asked by a sweep, as a database elsewhere may: with what was true before."""

    late = False

    async def claims(self, lease):
        claims = await super().claims(lease)
        if self.late and claims:
            self.read.set()
            await self.go.wait()
        return claims


def test_a_task_that_ends_while_a_sweep_reads_is_not_started_again(tmp_path):
    backend = ScriptedBackend()

    async def story(world):
        world.store.read, world.store.go = asyncio.Event(), asyncio.Event()
        task = await world.submit()
        await world.until(task, "INITIALIZING")
        world.store.late = True
        await world.store.read.wait()
        backend.show(AttemptId(task, 1), "DONE")
        await world.until(task)
        await backend.until(lambda: not backend._seen)
        world.store.late = False
        world.store.go.set()
        for _ in range(2):
            after = await world.submit()
            await backend.until(lambda after=after: AttemptId(after, 1) in backend.began)
            backend.show(AttemptId(after, 1), "DONE")
            await world.until(after)
        return [attempt.task_id for attempt in backend.began].count(task), world.metrics.ended_as

    settings = replace(QUICK, controller=ControllerSettings(sweep_seconds=0.05))
    assert play(tmp_path, backend, story, settings, make_store=LateStore) == (1, ["COMPLETE"] * 3)


@pytest.mark.parametrize(("asked", "ends"), [(False, "SYSTEM_ERROR"), (True, "CANCELED")])
def test_a_task_of_a_host_that_is_gone_ends_when_it_was_waited_for_long_enough(tmp_path, asked, ends):
    there = ScriptedBackend(place="there", script=("RUNNING",))

    async def before(world):
        task = await world.submit()
        await world.until(task, "RUNNING")
        return task

    task = play(tmp_path, there, before)
    here = ScriptedBackend(place="here", script=WHOLE)

    async def after(world):
        if asked:
            await world.cancel(task)
        return await world.until(task), len(here.began), await world.notes(task)

    settings = replace(
        QUICK, local=LocalSettings(host_lost_seconds=0.4), controller=ControllerSettings(sweep_seconds=0.1)
    )
    state, began, notes = play(tmp_path, here, after, settings)
    assert (state, began) == (ends, 0)
    assert asked or notes == ["Its server and host went away and did not come back"]


class Clock:
    """Seconds that the test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_lease_that_was_not_renewed_in_time_is_not_acted_upon(tmp_path):
    clock = Clock()
    store = SqliteStore(tmp_path / "tesk.db")
    lease = Lease(id=1, place="here", expires=0)
    tenure = Tenure(store, lease, seconds=30, taken=0.0, clock=clock)
    clock.now = 29.9
    tenure.sure()
    clock.now = 30.0
    with pytest.raises(LeaseLost):
        tenure.sure()


def test_a_lease_is_kept_by_renewing_it(tmp_path):
    async def story():
        store = SqliteStore(tmp_path / "tesk.db")
        await store.open()
        tenure = await Tenure.take(store, "here", "test", 0.3)
        try:
            async with asyncio.timeout(1.0):
                await tenure.keep()
        except TimeoutError:
            tenure.sure()
            return True
        finally:
            await store.close()

    assert asyncio.run(story())


def test_a_clock_that_is_set_back_keeps_no_retry_waiting_and_gives_no_task_more_time(tmp_path):
    backend = ScriptedBackend(script=("RUNNING",))
    clock = Clock()
    clock.now = 1e9

    async def story(world):
        limited = await world.submit(parameters={"time_limit_seconds": "0.2"})
        retried = await world.submit()
        await world.until(limited, "RUNNING")
        await world.until(retried, "RUNNING")
        backend.show(AttemptId(retried, 1), "SYSTEM_FAILED", reason="Lost")
        await world.until(retried, "QUEUED")
        clock.now -= 7200.0
        await world.until(retried, "RUNNING")
        return await world.until(limited)

    settings = replace(QUICK, controller=ControllerSettings(sweep_seconds=0.1, retry_seconds=300))
    assert play(tmp_path, backend, story, settings, clock=clock) == "SYSTEM_ERROR"


class WatchedBackend(ScriptedBackend):
    """Counts how often it is looked at. Of two looks at one task the first is over, and written down, when the second begins."""

    looks = 0

    async def observe(self, attempt):
        self.looks += 1
        self._moved.set()
        return await super().observe(attempt)


def test_a_reason_for_waiting_is_written_once_though_servers_come_and_go(tmp_path):
    backend = WatchedBackend(script=("STAGING",))
    sentence = "0/3 nodes are available: 1 Insufficient cpu."

    async def look_twice():
        for _ in range(2):
            before = backend.looks
            backend.show(backend.began[0], "STAGING", waiting=sentence)
            await backend.until(lambda before=before: backend.looks > before)

    async def both():
        store = SqliteStore(tmp_path / "tesk.db")
        await store.open()
        try:
            before, after = (World(store, backend) for _ in range(2))
            async with asyncio.timeout(60), before.moving():
                task = await before.submit()
                await backend.until(lambda: backend.began)
                await look_twice()
            assert await before.notes(task) == [sentence]
            async with asyncio.timeout(60), after.moving():
                await look_twice()
                backend.show(backend.began[0], "DONE")
                await after.until(task)
            return await after.notes(task)
        finally:
            await store.close()

    assert asyncio.run(both()) == [sentence]
