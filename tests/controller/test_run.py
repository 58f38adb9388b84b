"""The controller on a real file and a scripted backend: signals, retries, cancels, faults of one task."""

import asyncio
from functools import partial

from msgspec.structs import replace

from fakes.scripted import (
    AbsentBackend,
    BrokenBackend,
    DeafBackend,
    RefusingBackend,
    ScriptedBackend,
    small,
)
from fakes.world import QUICK, play
from tesk.caller import LOCAL
from tesk.compute.backend import AttemptId
from tesk.controller import term
from tesk.settings import ControllerSettings, RetentionSettings, StorageSettings
from tesk.storage.schemes import refusal
from tesk.store.sqlite.store import SqliteStore
from tesk.tes.state import State
from tesk.tes.task import Input
from tesk.tes.view import View

WHOLE = ("STAGING", "RUNNING", "UPLOADING", "DONE")


def test_a_task_goes_all_its_way_by_signals_alone(tmp_path):
    backend = ScriptedBackend(script=WHOLE)

    async def story(world):
        task = await world.submit()
        assert await world.until(task) == "COMPLETE"
        await backend.until(lambda: not backend._seen)
        return await world.states(task), world.metrics

    states, metrics = play(tmp_path, backend, story)
    assert states == ["QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"]
    assert (len(metrics.waited), metrics.ended_as) == (1, ["COMPLETE"])


def test_a_thousand_tasks_end_each_with_one_attempt(tmp_path):
    backend = ScriptedBackend(script=WHOLE, capacity=small(cores=8))

    async def story(world):
        tasks = [await world.submit() for _ in range(1000)]
        for task in tasks:
            await world.until(task)
        return len(tasks)

    assert play(tmp_path, backend, story) == len(backend.began) == 1000
    assert backend.began == sorted(backend.began)


def test_the_failure_of_an_executor_ends_a_task_at_once(tmp_path):
    backend = ScriptedBackend(script=("RUNNING", "EXECUTOR_FAILED"))

    async def story(world):
        task = await world.submit()
        return await world.until(task), len(backend.began)

    assert play(tmp_path, backend, story) == ("EXECUTOR_ERROR", 1)


def test_a_failure_of_the_system_is_tried_three_times_each_with_its_log(tmp_path):
    backend = ScriptedBackend()

    async def story(world):
        task = await world.submit()
        for number in (1, 2, 3):
            attempt = AttemptId(task, number)
            await backend.until(lambda attempt=attempt: attempt in backend.began)
            backend.show(attempt, "SYSTEM_FAILED", reason=f"node {number} is gone")
        state = await world.until(task)
        await backend.until(lambda: not backend._seen)
        return state, await world.states(task), await world.logs(task)

    state, states, logs = play(tmp_path, backend, story)
    assert state == "SYSTEM_ERROR"
    assert states == ["QUEUED", "INITIALIZING", "QUEUED", "INITIALIZING", "QUEUED", "INITIALIZING", "SYSTEM_ERROR"]
    assert [log[0].partition("; ")[0] for log in logs] == ["node 1 is gone", "node 2 is gone", "node 3 is gone"]
    follows = [log[0].partition("; ")[2] for log in logs]
    assert [words.startswith("tried again in ") for words in follows] == [True, True, False]
    assert follows[2] == "no further attempt after 3 failed for reasons of the system"
    assert backend.most == 1


def test_a_task_whose_input_can_never_be_had_ends_before_its_backend_hears_of_it(tmp_path):
    backend = ScriptedBackend(script=WHOLE)

    async def story(world):
        task = await world.submit(inputs=(Input(url="http://10.0.0.7/x", path="/in/x"),))
        given = await world.submit(inputs=(Input(content="here it is", path="/in/x"),))
        return await world.until(task), await world.notes(task), await world.until(given)

    refuse = partial(refusal, StorageSettings(private_addresses=False))
    state, (said,), other = play(tmp_path, backend, story, refusal=refuse)
    assert (state, other, len(backend.began)) == ("SYSTEM_ERROR", "COMPLETE", 1)
    assert said.startswith("inputs[0].url: 10.0.0.7 may not be called: it is on this machine or in a private network")


def test_a_final_failure_is_not_tried_again(tmp_path):
    backend = ScriptedBackend()

    async def story(world):
        task = await world.submit()
        await backend.until(lambda: backend.began)
        backend.show(backend.began[0], "SYSTEM_FAILED", reason="no such file", final=True)
        return await world.until(task), await world.notes(task)

    assert play(tmp_path, backend, story) == ("SYSTEM_ERROR", ["no such file"])


def test_attempts_lost_to_our_own_stops_do_not_count_but_twenty_are_the_end(tmp_path):
    backend = ScriptedBackend(script=("RUNNING", "PREEMPTED"))
    backend.script = ("RUNNING",)

    async def story(world):
        task = await world.submit()
        for number in range(1, 21):
            attempt = AttemptId(task, number)
            await backend.until(lambda attempt=attempt: attempt in backend.began)
            backend.show(attempt, "PREEMPTED", reason="the server stopped", ours=True)
        return await world.until(task), len(backend.began)

    assert play(tmp_path, backend, story) == ("SYSTEM_ERROR", 20)


def test_a_canceled_task_is_stopped_in_whatever_phase_and_nothing_of_it_is_left(tmp_path):
    for number, phases in enumerate([(), ("RUNNING",), ("RUNNING", "UPLOADING")]):
        backend = ScriptedBackend(script=phases)

        async def story(world, backend=backend, expected="RUNNING" if phases else "INITIALIZING"):
            task = await world.submit()
            await world.until(task, expected)
            await backend.until(lambda: backend.began)
            assert await world.cancel(task) == "CANCELING"
            assert await world.until(task) == "CANCELED"
            assert not backend._seen
            return await world.states(task)

        folder = tmp_path / str(number)
        folder.mkdir()
        assert play(folder, backend, story)[-2:] == ["CANCELING", "CANCELED"]


def test_a_task_that_waits_is_canceled_without_a_start(tmp_path):
    backend = ScriptedBackend(capacity=small(cores=1))

    async def story(world):
        first, second = await world.submit(), await world.submit()
        await world.until(first, "INITIALIZING")
        assert await world.cancel(second) == "CANCELED"
        await backend.until(lambda: backend.began)
        backend.show(backend.began[0], "DONE")
        await world.until(first)
        return [attempt.task_id for attempt in backend.began] == [first]

    assert play(tmp_path, backend, story)


def test_a_task_that_will_never_run_here_ends_and_says_why(tmp_path):
    async def story(world):
        task = await world.submit()
        return await world.until(task), await world.notes(task)

    expected = ("SYSTEM_ERROR", ["No place for /dev/x in a sandbox"])
    assert play(tmp_path, RefusingBackend(), story) == expected


def test_a_task_larger_than_the_machine_is_refused_at_once(tmp_path):
    backend = ScriptedBackend(script=WHOLE, capacity=small(cores=8))

    async def story(world):
        task = await world.submit(cpu=64)
        return await world.until(task), await world.notes(task), await world.states(task)

    state, notes, states = play(tmp_path, backend, story)
    assert (state, states) == ("SYSTEM_ERROR", ["QUEUED", "SYSTEM_ERROR"])
    assert notes == ["Can never run here: it asks for cpu_cores 64 and this server has cpu_cores 8 in all"]


class CountingStore(SqliteStore):
    """Counts the waiting tasks that it was asked for."""

    looked_at = 0

    async def waiting(self, **which):
        rows = await super().waiting(**which)
        self.looked_at += len(rows)
        return rows


def test_a_task_larger_than_the_machine_is_refused_at_once_however_many_wait(tmp_path):
    backend = ScriptedBackend(script=("RUNNING",), capacity=small(cores=1))

    async def story(world):
        await world.until(await world.submit(), "RUNNING")
        backlog = [await asyncio.gather(*(world.submit() for _ in range(500))) for _ in range(8)]
        for _ in range(3):
            large = await world.submit(cpu=2)
            assert await world.until(large) == "SYSTEM_ERROR"
            assert "Can never run here" in (await world.notes(large))[0]
            assert await world.states(large) == ["QUEUED", "SYSTEM_ERROR"]
        counts = await world.store.counts()
        return counts[State.QUEUED], sum(map(len, backlog)), world.store.looked_at, await world.submit(cpu=2)

    queued, backlog, looked_at, left = play(tmp_path, backend, story, make_store=CountingStore)
    assert queued == backlog
    assert looked_at < 5 * backlog

    async def after_a_restart(world):
        return await world.until(left)

    assert play(tmp_path, backend, after_a_restart) == "SYSTEM_ERROR"


def test_a_backend_that_cannot_be_asked_now_is_asked_again(tmp_path):
    async def story(world):
        return await world.until(await world.submit())

    assert play(tmp_path, AbsentBackend(script=WHOLE), story) == "COMPLETE"


def test_a_bug_that_shows_with_one_task_never_stops_the_others(tmp_path):
    backend = BrokenBackend(script=WHOLE)

    async def story(world):
        bad = [await world.submit("bad") for _ in range(3)]
        good = [await world.submit("good") for _ in range(20)]
        for task in good:
            assert await world.until(task) == "COMPLETE"
        return await world.until(bad[0], "QUEUED", "SYSTEM_ERROR"), (await world.notes(bad[0]))[-1]

    state, note = play(tmp_path, backend, story)
    assert "faults in a row" in note
    assert state in {"QUEUED", "SYSTEM_ERROR"}


def test_what_signals_miss_the_sweep_finds(tmp_path):
    often = replace(QUICK, controller=ControllerSettings(sweep_seconds=0.05))

    async def story(world):
        return await world.until(await world.submit())

    assert play(tmp_path, DeafBackend(script=WHOLE), story, settings=often) == "COMPLETE"


def test_what_nobody_wants_on_the_backend_is_forgotten(tmp_path):
    backend = ScriptedBackend()

    async def story(world):
        await backend.until(lambda: not backend._seen)

    async def left_behind():
        await backend.start(AttemptId("0" * 26, 1), None)

    asyncio.run(left_behind())
    play(tmp_path, backend, story)


def test_a_task_over_its_time_limit_ends_without_a_retry(tmp_path):
    backend = ScriptedBackend(script=("RUNNING",))

    async def story(world):
        task = await world.submit(parameters={"time_limit_seconds": "0.2"})
        return await world.until(task), (await world.notes(task))[-1], len(backend.began)

    state, note, attempts = play(tmp_path, backend, story)
    assert (state, attempts) == ("SYSTEM_ERROR", 1)
    assert note == "Stopped: it ran longer than its time limit of 0.2 s"


def test_who_waits_for_gpus_waits_in_queued(tmp_path):
    backend = ScriptedBackend(script=("RUNNING",), capacity=small(gpus=2))

    async def story(world):
        first = await world.submit(parameters={"GPU_Count": "1"})
        await world.until(first, "RUNNING")
        both, none = await world.submit(parameters={"gpu_count": "2"}), await world.submit()
        await world.until(none, "RUNNING")
        waited = await world.state(both)
        (attempt,) = backend.running(first)
        backend.show(attempt, "DONE")
        await world.until(both, "RUNNING")
        return waited

    assert play(tmp_path, backend, story) == "QUEUED"


def test_what_ended_long_ago_is_removed(tmp_path, monkeypatch):
    # Nobody wants to set how often that is done; a setting for this test alone would be one too many.
    monkeypatch.setattr(term, "_PRUNE_SECONDS", 0.1)
    backend = ScriptedBackend(script=WHOLE)

    async def story(world):
        task = await world.submit()
        await world.until(task)
        async with asyncio.timeout(20):
            while await world.store.get(task, LOCAL, View.MINIMAL) is not None:
                await world.store.changed(task, State.COMPLETE, 0.05)

    play(tmp_path, backend, story, replace(QUICK, retention=RetentionSettings(tasks_days=1e-6)))


def test_old_events_are_removed_and_their_task_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(term, "_PRUNE_SECONDS", 0.1)

    async def story(world):
        task = await world.submit()
        await world.until(task)
        async with asyncio.timeout(20):
            while await world.store.events(after=0, limit=9):
                await world.store.changed(task, State.COMPLETE, 0.05)
        return await world.state(task)

    kept = replace(QUICK, retention=RetentionSettings(events_days=1e-6))
    assert play(tmp_path, ScriptedBackend(script=WHOLE), story, kept) == "COMPLETE"
