"""The seam to the database: what is promised, whichever database it is."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol

from tesk.caller import Caller
from tesk.store.outbox import Outbox
from tesk.store.rows import (
    ENDLESS,
    Claimed,
    Created,
    Labels,
    Lease,
    ListQuery,
    Mark,
    Move,
    NewTask,
    Page,
    PruneCounts,
    Room,
    StoredTask,
    Waiting,
)
from tesk.tes.event import Event
from tesk.tes.state import State
from tesk.tes.view import View


class Store(Protocol):
    """Tasks, attempts, events, leases. Whatever a call returned from is durable.

    Every verb raises Unavailable where the database is gone; a call may then have happened or not, and may be repeated.
    """

    @property
    def outbox(self) -> Outbox:
        """What is to be told of tasks; each move of a task with a callback puts something into it."""

    # -- life ---------------------------------------------------------------------------------------------------------
    async def open(self) -> None:
        """Open, migrate forward under a lock. Raises StoreInUse, StoreTooNew, StartError."""

    async def close(self) -> None:
        """Finish what was begun and close."""

    async def ping(self) -> None:
        """Raise Unavailable where the database does not answer."""

    # -- for the API ----------------------------------------------------------------------------------------------------
    def create(self, new: NewTask) -> asyncio.Future[Created]:
        """Store a task in QUEUED with its first event. Concurrent calls share a commit.

        A future, for who would rather be told than wait: thousands come in a second. It ends with Unprocessable for a known
        key with another body, and at once with Overloaded, before anything is stored, when too many wait.
        """

    async def create_all(self, news: Sequence[NewTask]) -> Sequence[Created]:
        """Store all of some tasks, or none, in one transaction that others wait for; `repeated` where that has happened before.

        None has a key of its own, and whoever repeats gives all of them the same ids. Raises Overloaded before anything is stored.
        """

    async def remember(self, owner: str, key: str, body_hash: bytes, task_id: str, time: float) -> str:
        """Keep an id under an Idempotency-Key for a day; return it, or the one that an earlier call kept for the same body.

        Raises Unprocessable for a known key with another body.
        """

    async def get(self, task_id: str, caller: Caller, view: View) -> StoredTask | None:
        """Return a task as it stands, None where there is none that the caller may see."""

    async def mark(self, task_id: str, caller: Caller) -> Mark | None:
        """Return a task's mark, None where there is no task that the caller may see."""

    async def list(self, query: ListQuery) -> Page:
        """Return one page. The rows looked at for it are bounded, whatever the filters."""

    async def tasks(self, task_ids: Sequence[str], view: View) -> Sequence[StoredTask]:
        """Return the tasks with these ids, in any order, each as it stands; those that are gone are left out."""

    async def cancel(self, task_id: str, caller: Caller, time: float) -> State | None:
        """Ask for the end of a task; return its state after that, None where the caller sees no such task.

        From QUEUED, where nothing of it is on a backend, it goes to CANCELING and CANCELED in one transaction; from
        INITIALIZING and RUNNING to CANCELING; otherwise nothing changes.
        """

    async def cancel_all(
        self, task_ids: Sequence[str], caller: Caller, states: Collection[State], time: float
    ) -> Sequence[str]:
        """Do the same for many in one transaction, for those only that are in one of `states`; return which have moved."""

    async def events(
        self, *, after: int, limit: int, owner: str | None = None, task_ids: Sequence[str] | None = None
    ) -> Sequence[Event]:
        """Return events after a position in the order of commits. None that appears later is below one that was returned."""

    async def span(self) -> tuple[int, int]:
        """Return the position of the oldest event that is kept, and of the newest; 0 where there are none."""

    async def labels(self, task_ids: Sequence[str]) -> dict[str, Labels]:
        """Return the names and tags of these tasks; those that are gone are left out."""

    async def moved(self, timeout_seconds: float) -> None:
        """Return when some task may have moved, also by another server, or at the timeout. For one caller at a time."""

    async def counts(self) -> dict[State, int]:
        """Return how many tasks are in each state that is not terminal."""

    async def changed(self, task_id: str, seen: State, timeout_seconds: float) -> None:
        """Return when the task may have left `seen`, or at the timeout. May return early, never late by more than a second."""

    # -- for the controller -------------------------------------------------------------------------------------------------
    async def acquire(
        self, place: str, name: str, seconds: float, room: Room = ENDLESS, *, alone: bool = True
    ) -> Lease:
        """Take a new lease. One of the same place that still lives ends, where its servers are `alone` there, and it is not "".

        `room` is what the server has for tasks; others ask for it.
        """

    async def others(self, lease: Lease, seconds: float) -> Sequence[Room]:
        """Return what servers of other places have for tasks, each once, in order: of those that live.

        Where several servers may share the database, also of those that lived within the last `seconds`: who is started
        anew comes back for its tasks.
        """

    async def renew(self, lease: Lease, seconds: float) -> Lease:
        """Prolong a lease. Raises LeaseLost once it has ended, by time or because another server ended it."""

    async def release(self, lease: Lease) -> None:
        """End a lease; what it had claimed is free for others. Twice is once."""

    async def waiting(self, *, limit: int, after: str | None, now: float, within: Room = ENDLESS) -> Sequence[Waiting]:
        """Return QUEUED tasks that are due and ask for no more than `within`, oldest first, from after an id.

        Due too far ahead, after the clock was set back, is due.
        """

    async def next_due(self, now: float) -> float | None:
        """Return when the next QUEUED task that is not due yet will be."""

    async def begin(self, lease: Lease, task_id: str, time: float) -> Claimed | None:
        """Claim a QUEUED task: INITIALIZING, with a new attempt at the lease's place, its TaskLog started.

        None where it is not QUEUED any more. Raises LeaseLost. Concurrent calls share a commit.
        """

    async def refuse(self, lease: Lease, task_id: str, note: str, time: float) -> bool:
        """End a QUEUED task as SYSTEM_ERROR with a sentence in its `system_logs`; False where it is not QUEUED any more."""

    async def claimed(self, lease: Lease, task_ids: Sequence[str] | None = None) -> Sequence[Claimed]:
        """Return the tasks that this lease has claimed and that have not ended, all or those named."""

    async def standing(self, task_ids: Sequence[str]) -> dict[str, tuple[State, int]]:
        """Return the state of each of these tasks and the number of its newest attempt; those that are gone are left out."""

    async def claims(self, lease: Lease) -> dict[str, State]:
        """Return the ids of the tasks that this lease has claimed and that have not ended, each with its state."""

    async def canceling(self, lease: Lease) -> Sequence[str]:
        """Return the ids of the tasks that this lease has claimed and that are in CANCELING."""

    async def unheld(self, *, limit: int, after: str | None = None) -> Sequence[Claimed]:
        """Return tasks in INITIALIZING, RUNNING or CANCELING whose claim no living lease holds, by id, from after one."""

    async def adopt(self, lease: Lease, task_id: str) -> bool:
        """Take over a task whose claim no living lease holds. Raises LeaseLost."""

    async def move(self, lease: Lease, move: Move) -> bool:
        """Make a move: state, logs and event in one transaction. False where the guard does not hold (then nothing changes).

        A move with `via` has two events. One with `old == new` writes results only, without an event. Concurrent calls share a commit.
        """

    async def work(self, timeout_seconds: float) -> bool:
        """Return when there may be something new to start or to cancel, or at the timeout; say whether to cancel."""

    async def newest_id(self) -> str | None:
        """Return the greatest id of all."""

    # -- for people ---------------------------------------------------------------------------------------------------------
    async def prune(self, *, tasks_before: float | None, events_before: float | None) -> PruneCounts:
        """Remove tasks that ended before a time, and events; in small transactions."""

    async def backup(self, path: str) -> None:
        """Write a consistent copy of the whole database to a file, while it is in use."""

    async def check(self) -> Sequence[str]:
        """Return what is wrong inside: damage, holes in event sequences, a state that its last event does not show."""
