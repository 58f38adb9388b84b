"""What every store promises to the controller: one claim, guarded moves, retries."""

import asyncio
import json
from itertools import pairwise

import pytest

from fakes.databases import play
from fakes.tasks import new_task, running, told
from tesk.caller import LOCAL, Caller
from tesk.store.rows import Move, Results
from tesk.tes.logs import ExecutorLog
from tesk.tes.state import TERMINAL, State, may_move
from tesk.tes.view import View


async def notes(store, task_id):
    task = await store.get(task_id, LOCAL, View.FULL)
    return [json.loads(attempt.system_logs) for attempt in task.attempts]


def test_waiting_tasks_come_by_age_with_what_they_ask_for(database):
    news = [new_task(cpu_cores=0.5, ram_bytes=2**40, disk_bytes=3) for _ in range(5)]

    async def story(store):
        for new in reversed(news):
            await store.create(new)
        first = await store.waiting(limit=3, after=None, now=1.0)
        assert [one.id for one in first] == [new.id for new in news[:3]]
        assert (first[0].attempts, first[0].cpu_cores, first[0].ram_bytes, first[0].disk_bytes) == (0, 0.5, 2**40, 3)
        assert [one.id for one in await store.waiting(limit=9, after=first[-1].id, now=1.0)] == [n.id for n in news[3:]]

    play(database, story)


def test_a_start_claims_the_task_and_begins_its_tasklog(database):
    new = new_task("ann", name="n")

    async def story(store):
        await store.create(new)
        lease = await store.acquire("here", "test", 60)
        claimed = await store.begin(lease, new.id, 86400.0)
        assert (claimed.id, claimed.owner, claimed.state, claimed.attempt) == (new.id, "ann", State.INITIALIZING, 1)
        assert (claimed.place, claimed.started, claimed.failures, claimed.unheld_seconds) == ("here", 86400.0, 0, None)
        assert (claimed.task.name, claimed.task.executors[0].command) == ("n", ("true",))
        assert list(await store.claimed(lease)) == [claimed]
        assert list(await store.claimed(lease, [new.id, "x"])) == [claimed]
        assert list(await store.claimed(lease, [])) == []
        assert await store.waiting(limit=9, after=None, now=1e12) == []
        assert await store.begin(lease, new.id, 1.0) is None
        (attempt,) = (await store.get(new.id, LOCAL, View.FULL)).attempts
        assert json.loads(attempt.log)["start_time"] == "1970-01-02T00:00:00.000Z"
        assert await told(store, new.id) == [State.QUEUED, State.INITIALIZING]
        assert await store.counts() == {State.INITIALIZING: 1}

    play(database, story)


def test_of_many_starts_of_the_same_tasks_each_task_gets_one(database):
    news = [new_task() for _ in range(40)]

    async def story(store):
        await asyncio.gather(*(store.create(new) for new in news))
        leases = [await store.acquire(f"place{n}", "test", 60) for n in range(3)]
        starts = [store.begin(lease, new.id, 1.0) for lease in leases for new in news]
        begun = [one for one in await asyncio.gather(*starts) if one is not None]
        assert sorted(one.id for one in begun) == sorted(new.id for new in news)
        held = [one.id for lease in leases for one in await store.claimed(lease)]
        assert sorted(held) == sorted(new.id for new in news)
        assert await store.check() == []

    play(database, story)


def test_a_move_needs_the_old_state_the_attempt_and_the_claim(database):
    async def story(store):
        lease, other = [await store.acquire(place, "test", 60) for place in ("here", "there")]
        task = (await running(store, lease)).id
        results = Results(notes=("late",))

        def to_end(**changes):
            return Move(
                **{
                    "task_id": task,
                    "attempt": 1,
                    "old": State.RUNNING,
                    "new": State.COMPLETE,
                    "time": 9.0,
                    "results": results,
                }
                | changes
            )

        for by, late in (
            (lease, to_end(old=State.INITIALIZING)),
            (lease, to_end(attempt=2)),
            (lease, to_end(attempt=0)),
            (lease, to_end(task_id=new_task().id)),
            (lease, to_end(new=State.CANCELED)),
            (lease, to_end(new=State.INITIALIZING)),
            (other, to_end()),
        ):
            assert not await store.move(by, late)
        assert await notes(store, task) == [[]]
        assert await store.move(lease, to_end())
        assert not await store.move(lease, to_end())
        assert not await store.move(lease, to_end(old=State.COMPLETE))
        assert await notes(store, task) == [["late"]]
        assert await told(store, task) == [State.QUEUED, State.INITIALIZING, State.RUNNING, State.COMPLETE]
        assert await store.claimed(lease) == []

    play(database, story)


@pytest.mark.parametrize("old", [State.QUEUED, State.INITIALIZING, State.RUNNING, State.CANCELING, *sorted(TERMINAL)])
def test_a_cancel_goes_as_far_as_it_can_at_once(database, old):
    async def story(store):
        lease = await store.acquire("here", "test", 60)
        new = new_task("ann")
        await store.create(new)
        if old is State.CANCELING:
            await store.begin(lease, new.id, 1.0)
            await store.cancel(new.id, LOCAL, 2.0)
        elif old is State.CANCELED:
            await store.cancel(new.id, LOCAL, 2.0)
        elif old is not State.QUEUED:
            await store.begin(lease, new.id, 1.0)
            if old is not State.INITIALIZING:
                await store.move(lease, Move(task_id=new.id, attempt=1, old=State.INITIALIZING, new=old, time=2.0))
        before = await told(store, new.id)
        assert before[-1] is old
        assert await store.cancel(new.id, Caller("ben"), 3.0) is None
        assert await store.cancel(new_task().id, LOCAL, 3.0) is None
        wanted = {State.QUEUED: [State.CANCELING, State.CANCELED]}.get(
            old, [State.CANCELING] if may_move(old, State.CANCELING) else []
        )
        for _ in range(2):
            assert await store.cancel(new.id, Caller("ann"), 4.0) is (wanted or [old])[-1]
            assert await told(store, new.id) == before + wanted
        held = [one.state for one in await store.claimed(lease)]
        assert held == ([State.CANCELING] if old in {State.INITIALIZING, State.RUNNING, State.CANCELING} else [])
        assert await store.check() == []

    play(database, story)


def test_results_without_a_move_write_no_event(database):
    async def story(store):
        lease = await store.acquire("here", "test", 60)
        task = (await running(store, lease)).id
        before = await told(store, task)

        async def write(**results):
            move = Move(
                task_id=task, attempt=1, old=State.RUNNING, new=State.RUNNING, time=5.0, results=Results(**results)
            )
            assert await store.move(lease, move)

        await write(executor_logs=tuple(ExecutorLog(exit_code=n, stdout=str(n)) for n in range(3)), metadata={"a": "b"})
        await write(executor_logs=(ExecutorLog(exit_code=9), ExecutorLog(exit_code=8)), notes=("one",))
        await write(notes=("two", "three"), body=b'{"executors":[]}')
        stored = await store.get(task, LOCAL, View.FULL)
        assert stored.body == b'{"executors":[]}'
        assert [json.loads(log.log)["exit_code"] for log in stored.attempts[0].executors] == [9, 8]
        assert json.loads(stored.attempts[0].log)["metadata"] == {"a": "b"}
        assert await notes(store, task) == [["one", "two", "three"]]
        await write(executor_logs=())
        assert (await store.get(task, LOCAL, View.FULL)).attempts[0].executors == ()
        assert await told(store, task) == before

    play(database, story)


def test_moves_of_one_task_that_are_asked_for_together_go_in_order(database):
    async def story(store):
        lease = await store.acquire("here", "test", 60)
        new = new_task()
        await store.create(new)
        await store.begin(lease, new.id, 1.0)
        way = [State.INITIALIZING, State.RUNNING, State.RUNNING, State.COMPLETE]
        moves = [
            Move(task_id=new.id, attempt=1, old=old, new=to, time=2.0, results=Results(notes=(str(n),)))
            for n, (old, to) in enumerate(pairwise(way))
        ]
        assert await asyncio.gather(*(store.move(lease, move) for move in moves)) == [True] * 3
        assert await notes(store, new.id) == [["0", "1", "2"]]

    play(database, story)


def test_two_moves_in_one_have_two_events_and_one_of_them_never_happens_alone(database):
    async def story(store):
        lease = await store.acquire("here", "test", 60)
        new = new_task()
        await store.create(new)
        await store.begin(lease, new.id, 1.0)

        def move(via, end):
            results = Results(end_time=2.0, executor_logs=(ExecutorLog(exit_code=0),))
            return Move(task_id=new.id, attempt=1, old=State.INITIALIZING, via=via, new=end, time=2.0, results=results)

        for via, end in ((State.COMPLETE, State.RUNNING), (State.RUNNING, State.INITIALIZING)):
            assert not await store.move(lease, move(via, end))
        assert await told(store, new.id) == [State.QUEUED, State.INITIALIZING]
        assert await store.move(lease, move(State.RUNNING, State.COMPLETE))
        assert not await store.move(lease, move(State.RUNNING, State.COMPLETE))
        events = await store.events(after=0, limit=1000, task_ids=(new.id,))
        assert [(event.sequence, event.previous_state, event.state) for event in events[1:]] == [
            (2, State.QUEUED, State.INITIALIZING),
            (3, State.INITIALIZING, State.RUNNING),
            (4, State.RUNNING, State.COMPLETE),
        ]
        (attempt,) = (await store.get(new.id, LOCAL, View.FULL)).attempts
        assert len(attempt.executors) == 1
        assert await store.claimed(lease) == []
        assert await store.check() == []

    play(database, story)


def test_a_retry_is_queued_without_claim_and_begins_a_new_tasklog_when_due(database):
    async def story(store):
        lease = await store.acquire("here", "test", 60)
        task = (await running(store, lease)).id
        back = Move(
            task_id=task,
            attempt=1,
            old=State.RUNNING,
            new=State.QUEUED,
            time=3.0,
            due=100.0,
            counts=True,
            results=Results(notes=("lost",)),
        )
        assert await store.move(lease, back)
        assert await store.claimed(lease) == []
        assert await store.waiting(limit=9, after=None, now=99.0) == []
        assert await store.next_due(99.0) == 100.0
        assert await store.next_due(100.0) is None
        # The clock was set back by an hour: nobody waits for it to be as late again.
        assert [one.id for one in await store.waiting(limit=9, after=None, now=100.0 - 3600.0)] == [task]
        (waiting,) = await store.waiting(limit=9, after=None, now=100.0)
        assert (waiting.id, waiting.attempts) == (task, 1)
        again = await store.begin(lease, task, 101.0)
        assert (again.attempt, again.failures, again.started) == (2, 1, 101.0)
        await store.move(lease, Move(task_id=task, attempt=2, old=again.state, new=State.QUEUED, time=102.0))
        assert (await store.begin(lease, task, 103.0)).failures == 1
        assert await notes(store, task) == [["lost"], [], []]
        attempts = [event.attempt for event in await store.events(after=0, limit=99, task_ids=(task,))]
        assert attempts == [0, 1, 1, 1, 2, 2, 3]
        assert await store.check() == []

    play(database, story)


def test_a_refused_task_ends_with_a_sentence(database):
    async def story(store):
        lease = await store.acquire("here", "test", 60)
        new = new_task()
        await store.create(new)
        assert await store.refuse(lease, new.id, "too big", 1.0)
        assert not await store.refuse(lease, new.id, "too big", 1.0)
        assert not await store.refuse(lease, new_task().id, "too big", 1.0)
        assert await notes(store, new.id) == [["too big"]]
        assert await told(store, new.id) == [State.QUEUED, State.SYSTEM_ERROR]
        task = (await running(store, lease)).id
        lost = Move(
            task_id=task, attempt=1, old=State.RUNNING, new=State.QUEUED, time=3.0, results=Results(notes=("lost",))
        )
        assert await store.move(lease, lost)
        assert await store.refuse(lease, task, 'too "big" now', 4.0)
        assert await notes(store, task) == [["lost", 'too "big" now']]
        assert await store.check() == []

    play(database, story)


def test_claims_and_standings_say_what_is_held_and_what_became_of_attempts(database):
    async def story(store):
        lease = await store.acquire("here", "test", 60)
        runs = (await running(store, lease)).id
        begun, waits = new_task(), new_task()
        for new in (begun, waits):
            await store.create(new)
        await store.begin(lease, begun.id, 1.0)
        assert await store.claims(lease) == {runs: State.RUNNING, begun.id: State.INITIALIZING}
        await store.cancel(begun.id, LOCAL, 2.0)
        assert (await store.claims(lease))[begun.id] is State.CANCELING
        move = Move(task_id=runs, attempt=1, old=State.RUNNING, new=State.QUEUED, time=3.0, due=0.0)
        assert await store.move(lease, move)
        await store.begin(lease, runs, 4.0)
        asked = [runs, begun.id, waits.id, new_task().id]
        assert await store.standing(asked) == {
            runs: (State.INITIALIZING, 2),
            begun.id: (State.CANCELING, 1),
            waits.id: (State.QUEUED, 0),
        }

    play(database, story)


def test_servers_that_share_a_place_leave_each_others_leases_alone(database):
    async def story(store):
        first = await store.acquire("cluster", "one", 60, alone=False)
        second = await store.acquire("cluster", "two", 60, alone=False)
        task = (await running(store, first)).id
        assert await store.renew(first, 60)
        assert not await store.adopt(second, task)
        await store.release(first)
        assert [row.id for row in await store.unheld(limit=10)] == [task]
        assert await store.adopt(second, task)

    play(database, story)
