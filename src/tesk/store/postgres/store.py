"""The verbs of the store on PostgreSQL, which several servers may share."""

import asyncio
from collections.abc import Callable, Collection, Sequence

from tesk.caller import Caller
from tesk.errors import LeaseLost, Unprocessable
from tesk.store import reads, shape
from tesk.store.idempotency import REUSED
from tesk.store.pending import Pending
from tesk.store.postgres import asked, statements, upkeep
from tesk.store.postgres.asked import Begun, Moved
from tesk.store.postgres.batches import Batches
from tesk.store.postgres.creations import Creations
from tesk.store.postgres.database import Database
from tesk.store.postgres.keys import keep
from tesk.store.postgres.outbox import PostgresOutbox
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
    is_legal,
)
from tesk.store.shape import Row
from tesk.store.signals import Signals
from tesk.store.sql import Parameters
from tesk.tes.event import Event
from tesk.tes.state import ACTIVE, State, may_move
from tesk.tes.view import View

_DEAF_SECONDS = 1.0
"""How long a change may go unseen while no notifications are heard."""


class PostgresStore:
    """See `Store`. Without `exclusive` nothing is migrated: for a tool beside a server."""

    def __init__(
        self,
        url: str,
        *,
        pending_limit: int = 2000,
        pending_bytes: int = 256 * 1024 * 1024,
        exclusive: bool = True,
        committed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._url = url
        self._migrate = exclusive
        self._committed = committed
        self._signals = Signals()
        self._database = Database(url, self._heard, self._signals.all_changed)
        self.outbox = PostgresOutbox(self._database, self._signals)
        pending = Pending(pending_limit, pending_bytes)
        self._creations = Creations(self._database, pending, self._signals, committed)
        self._begins = Batches(self._begin, lambda begun: begun.task_id)
        self._moves = Batches(self._move, lambda moved: moved.move.task_id)

    # -- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        await self._database.open(migrate=self._migrate)

    async def close(self) -> None:
        for batches in (self._creations, self._begins, self._moves):
            await batches.close()
        await self._database.close()

    async def ping(self) -> None:
        await self._database.rows(reads.EXISTS, {})

    def _heard(self, payload: str) -> None:
        kind, *ids = payload.split(" ")
        if kind == "D":
            self._signals.tell()
            return
        if kind == "S":
            self._signals.changed_soon(ids)
        else:
            self._signals.changed(ids)
        if kind == "W":
            # A new task is not named; one that was canceled is.
            self._signals.work(cancels=bool(ids))

    # -- for the API ----------------------------------------------------------------------------------------------------

    def create(self, new: NewTask) -> asyncio.Future[Created]:
        return self._creations.create(new)

    async def create_all(self, news: Sequence[NewTask]) -> Sequence[Created]:
        return await self._creations.create_all(news)

    async def remember(self, owner: str, key: str, body_hash: bytes, task_id: str, time: float) -> str:
        async with self._database.transaction() as connection:
            known = await keep(connection, [(owner, key, body_hash, task_id, time)])
        if not known:
            return task_id
        ((kept_hash, kept),) = known.values()
        if kept_hash != body_hash:
            raise Unprocessable(REUSED)
        return kept

    async def get(self, task_id: str, caller: Caller, view: View) -> StoredTask | None:
        rows = await self._database.rows(reads.one(view), {"id": task_id})
        if not rows or not caller.may_see(rows[0][1]):
            return None
        return (shape.minimal if view is View.MINIMAL else shape.detailed)(rows)[0]

    async def mark(self, task_id: str, caller: Caller) -> Mark | None:
        rows = await self._database.rows(reads.MARK, {"id": task_id})
        return Mark(rows[0][0]) if rows and caller.may_see(rows[0][1]) else None

    async def list(self, query: ListQuery) -> Page:
        asked_for = reads.page(query, "string_agg")
        parameters, end = asked_for.parameters, None
        if asked_for.floor is not None:
            looked, lowest = (await self._database.rows(asked_for.floor, parameters))[0]
            if looked == parameters["looked"]:
                parameters["floor"] = end = lowest
        return shape.page((await self._database.rows(asked_for.page, parameters))[0][0], query, end)

    async def tasks(self, task_ids: Sequence[str], view: View) -> Sequence[StoredTask]:
        statement = reads.some("= ANY(:ids::text[])", view)
        rows = await self._database.rows(statement, {"ids": [*task_ids]})
        return (shape.minimal if view is View.MINIMAL else shape.detailed)(rows)

    async def cancel(self, task_id: str, caller: Caller, time: float) -> State | None:
        rows = await self._cancel((task_id,), caller, ACTIVE, time)
        if rows:
            return STATES[rows[0][1]]
        task = await self.get(task_id, caller, View.MINIMAL)
        return None if task is None else task.state

    async def cancel_all(
        self, task_ids: Sequence[str], caller: Caller, states: Collection[State], time: float
    ) -> Sequence[str]:
        return [row[0] for row in await self._cancel(task_ids, caller, states, time)]

    async def _cancel(
        self, task_ids: Sequence[str], caller: Caller, states: Collection[State], time: float
    ) -> Sequence[Row]:
        rows = await self._database.rows(
            statements.CANCEL,
            {
                "ids": [*task_ids],
                "states": [state.value for state in states if may_move(state, State.CANCELING)],
                "all": caller.admin,
                "owner": caller.name,
                "time": time,
                "payloads": asked.payloads("W", task_ids),
            },
        )
        if rows:
            self._heard(" ".join(("W", *(row[0] for row in rows))))
        return rows

    async def events(
        self, *, after: int, limit: int, owner: str | None = None, task_ids: Sequence[str] | None = None
    ) -> Sequence[Event]:
        named = "" if task_ids is None else "= ANY(:ids::text[])"
        statement = reads.events(owner=owner is not None, named=named, visible=statements.VISIBLE)
        parameters: Parameters = {"after": after, "limit": limit, "owner": owner, "ids": [*(task_ids or ())]}
        return [shape.event(row) for row in await self._database.rows(statement, parameters)]

    async def span(self) -> tuple[int, int]:
        oldest, newest = (await self._database.rows(reads.span(statements.VISIBLE), {}))[0]
        return oldest, newest

    async def labels(self, task_ids: Sequence[str]) -> dict[str, Labels]:
        rows = await self._database.rows(reads.LABELS.format("= ANY(:ids::text[])"), {"ids": [*task_ids]})
        return {task_id: shape.labels(body) for task_id, body in rows}

    async def moved(self, timeout_seconds: float) -> None:
        await self._signals.wait_for_news(
            timeout_seconds if self._database.listening else min(timeout_seconds, _DEAF_SECONDS)
        )

    async def counts(self) -> dict[State, int]:
        return {STATES[state]: count for state, count in await self._database.rows(reads.COUNTS, {})}

    async def changed(self, task_id: str, seen: State, timeout_seconds: float) -> None:
        change = self._signals.expect(task_id)
        try:
            rows = await self._database.rows(reads.STATE, {"id": task_id})
            if rows and rows[0][0] == seen.value:
                patience = timeout_seconds if self._database.listening else min(timeout_seconds, _DEAF_SECONDS)
                await asyncio.wait((change,), timeout=patience)
        finally:
            self._signals.dismiss(task_id, change)

    # -- for the controller -------------------------------------------------------------------------------------------------

    async def acquire(
        self, place: str, name: str, seconds: float, room: Room = ENDLESS, *, alone: bool = True
    ) -> Lease:
        parameters = {
            "place": place,
            "name": name,
            "seconds": seconds,
            "alone": alone,
            **shape.room_parameters(room),
        }
        lease_id, expires = (await self._database.rows(statements.ACQUIRE, parameters))[0]
        self.outbox.under(lease_id)
        return Lease(id=lease_id, place=place, expires=expires)

    async def renew(self, lease: Lease, seconds: float) -> Lease:
        rows = await self._database.rows(statements.RENEW, {"id": lease.id, "seconds": seconds})
        if not rows:
            raise _lost()
        return Lease(id=lease.id, place=lease.place, expires=rows[0][0])

    async def release(self, lease: Lease) -> None:
        await self._database.rows(statements.RELEASE, {"id": lease.id})
        self._signals.work()

    async def others(self, lease: Lease, seconds: float) -> Sequence[Room]:
        return shape.rooms(await self._database.rows(statements.OTHERS, {"place": lease.place, "seconds": seconds}))

    async def waiting(self, *, limit: int, after: str | None, now: float, within: Room = ENDLESS) -> Sequence[Waiting]:
        rows = await self._database.rows(*reads.waiting(limit=limit, after=after, now=now, within=within))
        return [shape.waiting(row) for row in rows]

    async def next_due(self, now: float) -> float | None:
        due: float | None = (await self._database.rows(reads.NEXT_DUE, {"now": now}))[0][0]
        return due

    async def begin(self, lease: Lease, task_id: str, time: float) -> Claimed | None:
        claimed = await self._begins.ask(Begun(lease, task_id, time))
        self._signals.changed_soon((task_id,))
        return claimed

    async def _begin(self, begun: Sequence[Begun]) -> Sequence[Claimed | Exception | None]:
        rows = await self._database.rows(statements.BEGIN, asked.begins(begun))
        claimed = {row[0]: shape.claimed(row) for row in rows}
        self._committed(len(begun))
        if len(claimed) == len(begun):
            return [claimed[one.task_id] for one in begun]
        alive = await self._alive([one.lease.id for one in begun])
        return [claimed.get(one.task_id, None if one.lease.id in alive else _lost()) for one in begun]

    async def refuse(self, lease: Lease, task_id: str, note: str, time: float) -> bool:
        parameters: Parameters = {"id": task_id, "lease": lease.id, "note": shape.notes_json((note,)), "time": time}
        refused = bool(await self._database.rows(statements.REFUSE, parameters)) or await self._missed(lease)
        self._signals.changed((task_id,))
        return refused

    async def claimed(self, lease: Lease, task_ids: Sequence[str] | None = None) -> Sequence[Claimed]:
        named = "" if task_ids is None else "AND t.id = ANY(:ids::text[])"
        rows = await self._database.rows(
            f"SELECT {reads.CLAIMED}, NULL {reads.FROM_CLAIMED} WHERE t.claim = :claim {named}",
            {"claim": lease.id, "ids": sorted(task_ids or ())},
        )
        return [shape.claimed(row) for row in rows]

    async def standing(self, task_ids: Sequence[str]) -> dict[str, tuple[State, int]]:
        rows = await self._database.rows(reads.STANDING.format("= ANY(:ids::text[])"), {"ids": [*task_ids]})
        return {row[0]: (STATES[row[1]], row[2]) for row in rows}

    async def claims(self, lease: Lease) -> dict[str, State]:
        return {row[0]: STATES[row[1]] for row in await self._database.rows(reads.CLAIMS, {"claim": lease.id})}

    async def canceling(self, lease: Lease) -> Sequence[str]:
        return [row[0] for row in await self._database.rows(reads.CANCELING, {"claim": lease.id})]

    async def unheld(self, *, limit: int, after: str | None = None) -> Sequence[Claimed]:
        rows = await self._database.rows(
            f"SELECT {reads.CLAIMED}, {statements.UNHELD_SECONDS} {reads.FROM_CLAIMED} "
            "LEFT JOIN lease l ON l.id = t.claim WHERE t.claim IS NOT NULL AND t.id > :after "
            f"AND t.claim NOT IN ({statements.LIVING}) ORDER BY t.id LIMIT :limit",
            {"limit": limit, "after": after or ""},
        )
        return [shape.claimed(row) for row in rows]

    async def adopt(self, lease: Lease, task_id: str) -> bool:
        rows = await self._database.rows(statements.ADOPT, {"lease": lease.id, "id": task_id})
        return bool(rows) or await self._missed(lease)

    async def move(self, lease: Lease, move: Move) -> bool:
        if not is_legal(move):
            return False
        moved = await self._moves.ask(Moved(lease, move))
        self._heard(f"{'W' if move.new is State.QUEUED else 'C'} {move.task_id}")
        return moved

    async def _move(self, moved: Sequence[Moved]) -> Sequence[bool]:
        rows = await self._database.rows(statements.MOVE, asked.moves(moved))
        self._committed(len(moved))
        done = {row[0] for row in rows}
        return [one.move.task_id in done for one in moved]

    async def work(self, timeout_seconds: float) -> bool:
        return await self._signals.wait_for_work(timeout_seconds)

    async def newest_id(self) -> str | None:
        newest: str | None = (await self._database.rows(reads.NEWEST, {}))[0][0]
        return newest

    async def _missed(self, lease: Lease) -> bool:
        """Return False, for nothing was found to write; raise LeaseLost where that is for want of a lease."""
        if not await self._alive([lease.id]):
            raise _lost()
        return False

    async def _alive(self, leases: Sequence[int]) -> set[int]:
        return {row[0] for row in await self._database.rows(statements.ALIVE, {"ids": [*leases]})}

    # -- for people ---------------------------------------------------------------------------------------------------------

    async def prune(self, *, tasks_before: float | None, events_before: float | None) -> PruneCounts:
        tasks = 0 if tasks_before is None else await upkeep.prune_tasks(self._database, tasks_before)
        events = 0 if events_before is None else await upkeep.prune_events(self._database, events_before)
        return PruneCounts(tasks=tasks, events=events)

    async def backup(self, path: str) -> None:
        await upkeep.back_up(self._url, path)

    async def check(self) -> Sequence[str]:
        return await upkeep.check(self._database)


def _lost() -> LeaseLost:
    return LeaseLost("the lease of this server has ended")
