"""Whatever is asked of a store, in any order, with servers that die: one claim, no hole, nobody's late word believed."""

import asyncio

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from fakes.databases import opened
from fakes.tasks import new_task
from tesk.caller import LOCAL
from tesk.errors import LeaseLost
from tesk.store.rows import ListQuery, Move, Results
from tesk.tes.state import TERMINAL, State, may_move
from tesk.tes.view import View

PLACES = st.sampled_from(["one", "two"])
REAL = [state for state in State if state not in {State.UNKNOWN, State.PAUSED, State.PREEMPTED}]


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
    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.known: dict[str, Known] = {}
        self.leases = {}
        self.living = set()
        self.last_position = 0
        self.seen: dict[str, list[State]] = {}
        self.open()

    def open(self):
        self.opened = opened(self.database)
        self.store = self.runner.run(self.opened.__aenter__())

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

    def alive(self, place):
        lease = self.leases.get(place)
        return lease is not None and lease.id in self.living

    @rule(target=tasks)
    def submit(self):
        new = new_task(tags={"m": "m"})
        assert not self.run(self.store.create(new)).repeated
        self.known[new.id] = Known()
        return new.id

    @rule(place=PLACES)
    def acquire(self, place):
        if place in self.leases:
            self.living.discard(self.leases[place].id)
        self.leases[place] = self.run(self.store.acquire(place, "machine", 600))
        self.living.add(self.leases[place].id)

    @rule(place=PLACES)
    def lose(self, place):
        if self.alive(place):
            self.run(self.store.renew(self.leases[place], 0.0))
            self.living.discard(self.leases[place].id)

    @rule(place=PLACES)
    def release(self, place):
        if place in self.leases:
            self.run(self.store.release(self.leases[place]))
            self.living.discard(self.leases[place].id)

    @rule(place=PLACES)
    def renew(self, place):
        if self.alive(place):
            self.run(self.store.renew(self.leases[place], 600))
        elif place in self.leases:
            with pytest.raises(LeaseLost):
                self.run(self.store.renew(self.leases[place], 600))

    @rule(task=tasks, place=PLACES)
    def begin(self, task, place):
        if place not in self.leases:
            return
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

    @rule(task=tasks, place=PLACES)
    def refuse(self, task, place):
        if self.alive(place):
            refused = self.run(self.store.refuse(self.leases[place], task, "no", 2.0))
            assert refused == (self.known[task].state is State.QUEUED)
            if refused:
                self.known[task].moved(State.SYSTEM_ERROR)

    @rule(
        task=tasks,
        place=PLACES,
        new=st.sampled_from(REAL),
        late=st.integers(0, 3),
        counts=st.booleans(),
        wrong=st.booleans(),
    )
    def move(self, task, place, new, late, counts, wrong):
        if place not in self.leases:
            return
        known, lease = self.known[task], self.leases[place]
        old = State.RUNNING if wrong else known.state
        attempt = known.attempts - late // 3
        move = Move(
            task_id=task, attempt=attempt, old=old, new=new, time=3.0, counts=counts, results=Results(notes=(f"{new}",))
        )
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

    @rule(task=tasks)
    def cancel(self, task):
        known = self.known[task]
        if known.state is State.QUEUED:
            known.moved(State.CANCELING)
            known.moved(State.CANCELED)
        elif known.state in {State.INITIALIZING, State.RUNNING}:
            known.moved(State.CANCELING)
        assert self.run(self.store.cancel(task, LOCAL, 4.0)) is known.state

    @rule(task=tasks, place=PLACES)
    def adopt(self, task, place):
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

    @rule()
    def restart(self):
        self.close()
        self.open()
        if not self.database.startswith("postgresql://"):
            self.living.clear()

    @invariant()
    def the_store_shows_what_is_known(self):
        page = self.run(self.store.list(ListQuery(owner=None, page_size=2047), View.MINIMAL))
        shown = {task.id: task.state for task in page.tasks if task.id in self.known}
        assert shown == {task: known.state for task, known in self.known.items()}
        for lease in self.leases.values():
            held = {one.id for one in self.run(self.store.claimed(lease))}
            assert held == {task for task, known in self.known.items() if known.holder == lease.id}
        unheld = {one.id for one in self.run(self.store.unheld(limit=10**6))} & set(self.known)
        assert unheld == {
            task for task, known in self.known.items() if known.holder is not None and known.holder not in self.living
        }

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


def test_any_order_of_verbs_keeps_the_promises(database, databases):
    class Machine(StoreMachine):
        @property
        def database(self):
            if not hasattr(self, "_database"):
                self._database = databases()
            return self._database

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=15 if database.startswith("postgresql://") else 50,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
