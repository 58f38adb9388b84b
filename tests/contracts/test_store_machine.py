"""Whatever is asked of a store, in any order, with servers that die: one claim, no hole, nobody's late word believed."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from fakes.databases import opened
from fakes.tasks import new_task
from tesk.caller import LOCAL
from tesk.errors import LeaseLost
from tesk.store.outbox import lane_of
from tesk.store.rendered import Rendered
from tesk.store.rows import Callback, ListQuery, Move, Results, state_of, task_of
from tesk.tes.logs import ExecutorLog, OutputFileLog
from tesk.tes.state import TERMINAL, State, may_move
from tesk.tes.view import View, render

ANY = 9
CALLBACK = Callback(url="http://a:80/hook", lane=lane_of("http://a:80", "local"))
PICKS = st.sampled_from([0, 1, 2, ANY])
PLACES = st.sampled_from(["one", "two"])
REAL = [state for state in State if state not in {State.UNKNOWN, State.PAUSED, State.PREEMPTED}]
WAYS = st.lists(st.sampled_from([State.RUNNING, State.QUEUED, State.RUNNING, *REAL]), min_size=1, max_size=4)


# What a move may write, different each time.
RESULTS = (
    lambda what: Results(notes=(what,)),
    lambda what: Results(metadata={"what": what}),
    lambda what: Results(start_time=float(what), end_time=float(what)),
    lambda what: Results(executor_logs=(ExecutorLog(stdout=what, exit_code=0),)),
    lambda what: Results(output_logs=(OutputFileLog(url="u", path="/p", size_bytes=what),)),
    lambda what: Results(body=new_task(name=what).body),
)


class Known:
    """What the machine knows of one task."""

    def __init__(self) -> None:
        self.states = [State.QUEUED]
        self.attempts = 0
        self.failures = 0
        self.holder = None

    @property
    def state(self):
        return self.states[-1]

    def moved(self, state):
        self.states.append(state)
        if state in TERMINAL or state is State.QUEUED:
            self.holder = None


class StoreMachine(RuleBasedStateMachine):
    """Two servers on one store, each with a lease for its place, or with a lost one, or with none."""

    database: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.known: dict[str, Known] = {}
        self.leases = {}
        self.living = set()
        self.last_position = 0
        self.moves = 0
        self.revisions: dict[tuple[str, int, View], bytes] = {}
        self.seen: dict[str, list[State]] = {}
        self.open()

    @initialize()
    def both_servers_start(self):
        for place in ("one", "two"):
            self.acquire(place)

    def open(self):
        self.opened = opened(self.database)
        self.store = self.runner.run(self.opened.__aenter__())
        self.rendered = Rendered(self.store)

    def close(self):
        self.runner.run(self.opened.__aexit__(None, None, None))

    def teardown(self):
        try:
            assert [line for line in self.run(self.store.check()) if any(one in line for one in self.known)] == []
        finally:
            self.close()
            self.runner.close()

    def run(self, verb):
        return self.runner.run(asyncio.wait_for(verb, 30))

    async def create(self, new):
        return await self.store.create(new)

    def alive(self, place):
        return self.leases[place].id in self.living

    def task(self, pick):
        """Return one of the few tasks that have not ended, or now and then any; submit a new one where there are few."""
        if pick == ANY and self.known:
            return sorted(self.known)[len(self.known) // 2]
        going = [task for task, known in self.known.items() if known.state not in TERMINAL]
        if pick < len(going):
            return going[pick]
        new = new_task(tags={"m": "m"}, callback=CALLBACK if len(self.known) % 2 else None)
        assert not self.run(self.create(new)).repeated
        self.known[new.id] = Known()
        return new.id

    def acquire(self, place):
        if place in self.leases:
            self.living.discard(self.leases[place].id)
        self.leases[place] = self.run(self.store.acquire(place, "machine", 600))
        self.living.add(self.leases[place].id)

    @rule(place=PLACES, how=st.sampled_from(["late", "released", "restarted", "new"]))
    def lose(self, place, how):
        lease = self.leases[place]
        if how == "late" and self.alive(place):
            self.run(self.store.renew(lease, 0.0))
        elif how == "released":
            self.run(self.store.release(lease))
        elif how == "restarted":
            self.close()
            self.open()
            if not self.database.startswith("postgresql://"):
                self.living.clear()
            return
        self.living.discard(lease.id)
        if how == "new":
            self.acquire(place)

    @rule(place=PLACES)
    def renew(self, place):
        if self.alive(place):
            self.run(self.store.renew(self.leases[place], 600))
            return
        with pytest.raises(LeaseLost):
            self.run(self.store.renew(self.leases[place], 600))
        self.acquire(place)

    @rule(pick=PICKS, place=PLACES)
    def begin(self, pick, place):
        self.begin_at(self.task(pick), place)

    def begin_at(self, task, place):
        known = self.known[task]
        if not self.alive(place):
            with pytest.raises(LeaseLost):
                self.run(self.store.begin(self.leases[place], task, 1.0))
            return
        begun = self.run(self.store.begin(self.leases[place], task, 1.0))
        assert (begun is not None) == (known.state is State.QUEUED)
        if begun is not None:
            known.attempts += 1
            known.moved(State.INITIALIZING)
            known.holder = self.leases[place].id
            assert (begun.attempt, begun.failures, begun.place) == (known.attempts, known.failures, place)

    @rule(pick=PICKS, place=PLACES)
    def refuse(self, pick, place):
        task = self.task(pick)
        if self.alive(place):
            refused = self.run(self.store.refuse(self.leases[place], task, "no", 2.0))
            assert refused == (self.known[task].state is State.QUEUED)
            if refused:
                self.known[task].moved(State.SYSTEM_ERROR)

    @rule(pick=PICKS, place=PLACES, data=st.data(), wrong=st.sampled_from(["nothing", "old", "attempt", "new"]))
    def move(self, pick, place, data, wrong):
        """By its holder or by the other, to where it may go, or with something wrong."""
        task = self.task(pick)
        known = self.known[task]
        legal = [new for new in REAL if new is known.state or may_move(known.state, new)]
        self.ask_for_move(
            task,
            place,
            old=State.RUNNING if wrong == "old" else known.state,
            new=data.draw(st.sampled_from(REAL if wrong == "new" else legal)),
            attempt=known.attempts - (wrong == "attempt"),
            counts=data.draw(st.booleans()),
        )

    @rule(pick=PICKS, place=PLACES, way=WAYS, counts=st.booleans())
    def live(self, pick, place, way, counts):
        """Start it where it waits, and move it on as its holder does, from state to state."""
        task = self.task(pick)
        known = self.known[task]
        for new in way:
            if known.state is State.QUEUED and new is not State.QUEUED:
                self.begin_at(task, place)
            for holder, lease in self.leases.items():
                if known.holder == lease.id and may_move(known.state, new):
                    self.ask_for_move(task, holder, old=known.state, new=new, attempt=known.attempts, counts=counts)
                    break

    def ask_for_move(self, task, place, *, old, new, attempt, counts):
        known, lease = self.known[task], self.leases[place]
        self.moves += 1
        results = RESULTS[self.moves % len(RESULTS)](f"{self.moves}")
        move = Move(task_id=task, attempt=attempt, old=old, new=new, time=3.0, counts=counts, results=results)
        allowed = (
            old is known.state
            and attempt == known.attempts
            and known.holder == lease.id
            and self.alive(place)
            and (old is new or may_move(old, new))
        )
        assert self.run(self.store.move(lease, move)) == allowed
        if allowed and old is not new:
            known.failures += counts and new is State.QUEUED
            known.moved(new)

    @rule(pick=PICKS)
    def cancel(self, pick):
        task = self.task(pick)
        known = self.known[task]
        if known.state is State.QUEUED:
            known.moved(State.CANCELING)
            known.moved(State.CANCELED)
        elif known.state in {State.INITIALIZING, State.RUNNING}:
            known.moved(State.CANCELING)
        assert self.run(self.store.cancel(task, LOCAL, 4.0)) is known.state

    @rule(pick=PICKS, place=PLACES)
    def adopt(self, pick, place):
        task = self.task(pick)
        if self.alive(place):
            known = self.known[task]
            adopted = self.run(self.store.adopt(self.leases[place], task))
            assert adopted == (known.holder is not None and known.holder not in self.living)
            if adopted:
                known.holder = self.leases[place].id

    @rule(data=st.data())
    def rivals(self, data):
        """Both servers ask for the same tasks at the same time."""
        if not (self.alive("one") and self.alive("two")) or not self.known:
            return
        some = data.draw(st.lists(st.sampled_from(sorted(self.known)), unique=True, max_size=5))

        async def both():
            return await asyncio.gather(
                *(self.store.begin(self.leases[place], task, 5.0) for task in some for place in ("one", "two"))
            )

        begun = {one.id: one.place for one in self.run(both()) if one is not None}
        assert set(begun) == {task for task in some if self.known[task].state is State.QUEUED}
        for task, place in begun.items():
            self.known[task].attempts += 1
            self.known[task].moved(State.INITIALIZING)
            self.known[task].holder = self.leases[place].id

    @invariant()
    def the_store_shows_what_is_known(self):
        page = self.run(self.store.list(ListQuery(owner=None, page_size=2047)))
        shown = {task_of(mark): state_of(mark) for mark in page.marks if task_of(mark) in self.known}
        assert shown == {task: known.state for task, known in self.known.items()}
        for lease in self.leases.values():
            held = {one.id for one in self.run(self.store.claimed(lease))}
            assert held == {task for task, known in self.known.items() if known.holder == lease.id}
        unheld = {one.id for one in self.run(self.store.unheld(limit=10**6))} & set(self.known)
        assert unheld == {
            task for task, known in self.known.items() if known.holder is not None and known.holder not in self.living
        }

    @invariant()
    def what_is_kept_of_a_task_shows_it_as_it_stands(self):
        """A write that changes what is shown and raises no revision would leave the old words here."""
        query = ListQuery(owner=None, tags=(("m", "m"),), page_size=2047)
        for view in (View.BASIC, View.FULL):
            fresh = {task.id: task for task in self.run(self.store.tasks([*self.known], view))}
            kept = self.run(self.rendered.list(query, view)).tasks
            assert [task for task in kept if json.loads(task)["id"] in fresh] == [
                render(fresh[task], view) for task in sorted(fresh, reverse=True)
            ]
            for task_id, task in fresh.items():
                revision = (task_id, task.revision, view)
                assert self.revisions.setdefault(revision, render(task, view)) == render(task, view)

    @invariant()
    def events_tell_each_state_once_and_in_order(self):
        for event in self.run(self.store.events(after=self.last_position, limit=10**6)):
            assert event.position > self.last_position
            self.last_position = event.position
            if event.task_id in self.known:
                told = self.seen.setdefault(event.task_id, [])
                assert event.sequence == len(told) + 1
                assert event.previous_state == (told[-1] if told else None)
                told.append(event.state)
        assert self.seen == {task: known.states for task, known in self.known.items()}


@pytest.fixture
def databases(database, tmp_path):
    """Give a database for each example: files are cheap, and on a server tasks of other examples are passed over."""
    if database.startswith("postgresql://"):
        return lambda: database
    numbers = iter(range(10**6))
    return lambda: str(tmp_path / f"{next(numbers)}.db")


@pytest.mark.parametrize("share", [0.4, pytest.param(4.0, marks=pytest.mark.faults)])
def test_any_order_of_verbs_keeps_the_promises(database, databases, share):
    class Machine(StoreMachine):
        @property
        def database(self):
            if not hasattr(self, "_database"):
                self._database = databases()
            return self._database

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=round(share * (15 if database.startswith("postgresql://") else 80)),
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
