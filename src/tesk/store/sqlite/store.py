"""The verbs of the store on one SQLite file."""

import asyncio
import json
import os
import sqlite3
import threading
import time as clock
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from tesk.caller import Caller
from tesk.errors import Unavailable
from tesk.store import reads, shape
from tesk.store.pending import Pending
from tesk.store.rows import (
    ENDLESS,
    STATES,
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
from tesk.store.shape import Row
from tesk.store.signals import Signals
from tesk.store.sql import Parameters
from tesk.store.sqlite import changes, file, upkeep
from tesk.store.sqlite.leases import Leases
from tesk.store.sqlite.outbox import SqliteOutbox
from tesk.store.sqlite.writer import Writer
from tesk.tes.event import Event
from tesk.tes.state import State
from tesk.tes.view import View

_T = TypeVar("_T")

_NAMED = "IN (SELECT value FROM json_each(:ids))"
_DIRECT = 256
"""Largest page that is read in the event loop itself: quicker than to cross to a thread and back, and a few ms at most."""


class SqliteStore:
    """See `Store`. With `exclusive` it is a server's; without, a tool's beside one: prune, back up, check."""

    def __init__(
        self,
        path: str | Path,
        *,
        pending_limit: int = 2000,
        pending_bytes: int = 256 * 1024 * 1024,
        exclusive: bool = True,
        committed: Callable[[int], None] = lambda _: None,
    ) -> None:
        # A file that is reached through links is one file: it is locked, and its log lies, where it really is.
        self._path = Path(path).expanduser().resolve()
        self._exclusive = exclusive
        self._pending = Pending(pending_limit, pending_bytes)
        self._committed = committed
        self._signals = Signals()
        self._leases = Leases()
        self._lock: int | None = None
        self._threads = threading.local()
        self.outbox = SqliteOutbox(self._rows, self._many, lambda: self._writer, self._signals)

    # -- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        if self._exclusive:
            self._lock = file.hold(self._path)
        try:
            connection = file.connect(self._path)
            if self._exclusive:
                file.upgrade(connection, self._path)
                # Who holds the lock is the only server: whatever lease was there has ended.
                connection.execute("UPDATE lease SET ended = ? WHERE ended IS NULL", (clock.time(),))
            else:
                file.require_current(connection, self._path)
        except BaseException:
            self._unlock()
            raise
        self._reader = file.connect(self._path)
        self._readers = ThreadPoolExecutor(2, "tesk-read")
        self._writer = Writer(connection, changes.create, self._created, self._committed)

    async def close(self) -> None:
        await self._writer.close()
        self._readers.shutdown()
        self._reader.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def ping(self) -> None:
        self._rows(reads.EXISTS, {})

    # -- for the API ----------------------------------------------------------------------------------------------------

    def create(self, new: NewTask) -> asyncio.Future[Created]:
        return self._writer.create(new, self._pending.enter(new))

    def _created(self, news: Sequence[NewTask]) -> None:
        self._pending.leave(news)
        self._signals.work()
        self._signals.tell()

    async def create_all(self, news: Sequence[NewTask]) -> Sequence[Created]:
        if (refusal := self._pending.enter_all(news)) is not None:
            raise refusal
        try:
            return await self._writer.run(partial(changes.create_all, news=news))
        finally:
            self._created(news)

    async def remember(self, owner: str, key: str, body_hash: bytes, task_id: str, time: float) -> str:
        return await self._writer.run(
            partial(changes.remember, owner=owner, key=key, body_hash=body_hash, task_id=task_id, time=time)
        )

    async def get(self, task_id: str, caller: Caller, view: View) -> StoredTask | None:
        rows = self._rows(reads.one(view), {"id": task_id})
        if not rows or not caller.may_see(rows[0][1]):
            return None
        return (shape.minimal if view is View.MINIMAL else shape.detailed)(rows)[0]

    async def mark(self, task_id: str, caller: Caller) -> Mark | None:
        rows = self._rows(reads.MARK, {"id": task_id})
        return Mark(rows[0][0]) if rows and caller.may_see(rows[0][1]) else None

    async def list(self, query: ListQuery) -> Page:
        return await self._sized(query.page_size, partial(_page, query))

    async def tasks(self, task_ids: Sequence[str], view: View) -> Sequence[StoredTask]:
        statement = reads.some(_NAMED, view)
        rows = await self._sized(len(task_ids), partial(_rows, statement, {"ids": json.dumps(task_ids)}))
        return (shape.minimal if view is View.MINIMAL else shape.detailed)(rows)

    async def cancel(self, task_id: str, caller: Caller, time: float) -> State | None:
        state = await self._writer.run(
            lambda connection: changes.cancel(connection, task_id=task_id, caller=caller, time=time)
        )
        self._changed(task_id)
        self._signals.work(cancels=True)
        return state

    async def cancel_all(
        self, task_ids: Sequence[str], caller: Caller, states: Collection[State], time: float
    ) -> Sequence[str]:
        moved = await self._writer.run(
            partial(changes.cancel_all, task_ids=task_ids, caller=caller, states=states, time=time)
        )
        self._signals.changed(moved)
        self._signals.tell()
        self._signals.work(cancels=True)
        return moved

    async def events(
        self, *, after: int, limit: int, owner: str | None = None, task_ids: Sequence[str] | None = None
    ) -> Sequence[Event]:
        named = "" if task_ids is None else _NAMED
        statement = reads.events(owner=owner is not None, named=named, visible="")
        parameters = {"after": after, "limit": limit, "owner": owner, "ids": json.dumps(task_ids)}
        rows = await self._sized(min(limit, len(task_ids or ()) or limit), partial(_rows, statement, parameters))
        return [shape.event(row) for row in rows]

    async def span(self) -> tuple[int, int]:
        oldest, newest = self._rows(reads.span(""), {})[0]
        return oldest, newest

    async def labels(self, task_ids: Sequence[str]) -> dict[str, Labels]:
        statement = reads.LABELS.format(_NAMED)
        rows = await self._sized(len(task_ids), partial(_rows, statement, {"ids": json.dumps(task_ids)}))
        return {task_id: shape.labels(body) for task_id, body in rows}

    async def moved(self, timeout_seconds: float) -> None:
        await self._signals.wait_for_news(timeout_seconds)

    async def counts(self) -> dict[State, int]:
        return {STATES[state]: count for state, count in await self._many(reads.COUNTS, {})}

    async def changed(self, task_id: str, seen: State, timeout_seconds: float) -> None:
        change = self._signals.expect(task_id)
        try:
            rows = self._rows(reads.STATE, {"id": task_id})
            if rows and rows[0][0] == seen.value:
                await asyncio.wait((change,), timeout=timeout_seconds)
        finally:
            self._signals.dismiss(task_id, change)

    # -- for the controller -------------------------------------------------------------------------------------------------

    async def acquire(
        self, place: str, name: str, seconds: float, room: Room = ENDLESS, *, alone: bool = True
    ) -> Lease:
        lease_id, ended = await self._writer.run(
            partial(changes.add_lease, place=place, name=name, time=clock.time(), room=room, alone=alone)
        )
        for other in ended:
            self._leases.drop(other)
        self._leases.hold(lease_id, seconds)
        return Lease(id=lease_id, place=place, expires=clock.time() + seconds)

    async def renew(self, lease: Lease, seconds: float) -> Lease:
        self._leases.require(lease.id)
        self._leases.hold(lease.id, seconds)
        return Lease(id=lease.id, place=lease.place, expires=clock.time() + seconds)

    async def release(self, lease: Lease) -> None:
        self._leases.drop(lease.id)
        await self._writer.run(partial(changes.end_lease, lease_id=lease.id, time=clock.time()))
        self._signals.work()

    async def others(self, lease: Lease, seconds: float) -> Sequence[Room]:  # noqa: ARG002  a file has one server
        rows = self._rows(
            "SELECT cpu_cores, ram_bytes, disk_bytes, coalesce(gpus, 0) FROM lease "
            "WHERE place <> :place AND id IN (SELECT value FROM json_each(:living))",
            {"place": lease.place, "living": self._leases.living()},
        )
        return shape.rooms(rows)

    async def waiting(self, *, limit: int, after: str | None, now: float, within: Room = ENDLESS) -> Sequence[Waiting]:
        rows = self._rows(*reads.waiting(limit=limit, after=after, now=now, within=within))
        return [shape.waiting(row) for row in rows]

    async def next_due(self, now: float) -> float | None:
        due: float | None = self._rows(reads.NEXT_DUE, {"now": now})[0][0]
        return due

    async def begin(self, lease: Lease, task_id: str, time: float) -> Claimed | None:
        claimed = await self._held(lease, lambda connection: changes.begin(connection, lease, task_id, time))
        self._signals.changed_soon((task_id,))
        self._signals.tell()
        return claimed

    async def refuse(self, lease: Lease, task_id: str, note: str, time: float) -> bool:
        refused = await self._held(lease, lambda connection: changes.refuse(connection, task_id, note, time))
        self._changed(task_id)
        return refused

    async def claimed(self, lease: Lease, task_ids: Sequence[str] | None = None) -> Sequence[Claimed]:
        named = "" if task_ids is None else "AND t.id IN (SELECT value FROM json_each(:ids))"
        rows = self._rows(
            f"SELECT {reads.CLAIMED}, NULL {reads.FROM_CLAIMED} WHERE t.claim = :claim {named}",
            {"claim": lease.id, "ids": json.dumps(task_ids)},
        )
        return [shape.claimed(row) for row in rows]

    async def standing(self, task_ids: Sequence[str]) -> dict[str, tuple[State, int]]:
        statement = reads.STANDING.format(_NAMED)
        rows = await self._sized(len(task_ids), partial(_rows, statement, {"ids": json.dumps(task_ids)}))
        return {row[0]: (STATES[row[1]], row[2]) for row in rows}

    async def claims(self, lease: Lease) -> dict[str, State]:
        return {row[0]: STATES[row[1]] for row in self._rows(reads.CLAIMS, {"claim": lease.id})}

    async def canceling(self, lease: Lease) -> Sequence[str]:
        return [row[0] for row in self._rows(reads.CANCELING, {"claim": lease.id})]

    async def unheld(self, *, limit: int, after: str | None = None) -> Sequence[Claimed]:
        rows = self._rows(
            f"SELECT {reads.CLAIMED}, max(:now - coalesce(l.ended, :now), 0) {reads.FROM_CLAIMED} "
            "LEFT JOIN lease l ON l.id = t.claim WHERE t.claim IS NOT NULL AND t.id > :after "
            "AND t.claim NOT IN (SELECT value FROM json_each(:living)) ORDER BY t.id LIMIT :limit",
            {"living": self._leases.living(), "now": clock.time(), "limit": limit, "after": after or ""},
        )
        return [shape.claimed(row) for row in rows]

    async def adopt(self, lease: Lease, task_id: str) -> bool:
        return await self._held(
            lease, lambda connection: changes.adopt(connection, lease, self._leases.living(), task_id)
        )

    async def move(self, lease: Lease, move: Move) -> bool:
        def guarded(connection: sqlite3.Connection) -> bool:
            return self._leases.alive(lease.id) and changes.move(connection, lease, move)

        moved = await self._writer.run(guarded)
        self._changed(move.task_id)
        if move.new is State.QUEUED:
            self._signals.work()
        return moved

    async def work(self, timeout_seconds: float) -> bool:
        return await self._signals.wait_for_work(timeout_seconds)

    async def newest_id(self) -> str | None:
        newest: str | None = self._rows(reads.NEWEST, {})[0][0]
        return newest

    # -- for people ---------------------------------------------------------------------------------------------------------

    async def prune(self, *, tasks_before: float | None, events_before: float | None) -> PruneCounts:
        tasks = events = 0
        after: str | None = "" if tasks_before is not None else None
        while tasks_before is not None and after is not None:
            removed, after = await self._writer.run(partial(upkeep.prune_tasks, ended_before=tasks_before, after=after))
            tasks += removed
        while events_before is not None:
            removed = await self._writer.run(partial(upkeep.prune_events, before=events_before))
            if not removed:
                break
            events += removed
        return PruneCounts(tasks=tasks, events=events)

    async def backup(self, path: str) -> None:
        await asyncio.to_thread(upkeep.back_up, self._connect, Path(path))

    async def check(self) -> Sequence[str]:
        return await asyncio.to_thread(upkeep.check, self._connect)

    def _changed(self, task_id: str) -> None:
        self._signals.changed((task_id,))
        self._signals.tell()

    # -- the ways to the file -----------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        return file.connect(self._path)

    def _rows(self, statement: str, parameters: Parameters) -> Sequence[Row]:
        """Read here and now: a few rows by an index."""
        return _rows(statement, parameters, self._reader)

    async def _many(self, statement: str, parameters: Parameters) -> Sequence[Row]:
        """Read beside the loop what may be much."""
        return await self._in_thread(partial(_rows, statement, parameters))

    async def _sized(self, amount: int, read: Callable[[sqlite3.Connection], _T]) -> _T:
        """Read so many tasks where that is quicker."""
        return read(self._reader) if amount <= _DIRECT else await self._in_thread(read)

    async def _in_thread(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        def run() -> _T:
            if not hasattr(self._threads, "connection"):
                self._threads.connection = self._connect()
            return read(self._threads.connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    async def _held(self, lease: Lease, change: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a change while the lease is held. Raises LeaseLost."""

        def guarded(connection: sqlite3.Connection) -> _T:
            self._leases.require(lease.id)
            return change(connection)

        return await self._writer.run(guarded)


def _rows(statement: str, parameters: Parameters, connection: sqlite3.Connection) -> Sequence[Row]:
    try:
        return connection.execute(statement, parameters).fetchall()
    except sqlite3.Error as error:
        raise Unavailable(f"the database cannot be read: {error}", retry_after_seconds=5) from error


def _page(query: ListQuery, connection: sqlite3.Connection) -> Page:
    asked = reads.page(query, "group_concat")
    parameters, end = asked.parameters, None
    if asked.floor is not None:
        looked, lowest = _rows(asked.floor, parameters, connection)[0]
        if looked == parameters["looked"]:
            parameters["floor"] = end = lowest
    return shape.page(_rows(asked.page, parameters, connection)[0][0], query, end)
