"""Deliveries on one SQLite file: one server has it, so that who sends what stands in its memory alone."""

import json
import math
import sqlite3
import time as clock
from collections.abc import Awaitable, Callable, Sequence
from itertools import count

from tesk.caller import Caller
from tesk.store import tellings
from tesk.store.outbox import FARTHEST_SECONDS, Backlog, Due, Outgoing, Place, Sent, Status, Subscription
from tesk.store.shape import Row
from tesk.store.signals import Signals
from tesk.store.sql import Parameters
from tesk.store.sqlite.writer import Writer

_TAKE = """
    SELECT id, lane, url FROM callback
    WHERE lane = :lane AND due IS NOT NULL AND (due <= :now OR due > :far) ORDER BY due LIMIT :limit
"""

_OLD = f"""
    SELECT w.id, w.lane, w.due, EXISTS (
        SELECT 1 FROM delivery d WHERE d.id = w.id AND d.status = 'pending' AND d.time <= :before
    ) FROM ({tellings.WAITING}) w
"""


class SqliteOutbox:
    """See `Outbox`."""

    def __init__(
        self,
        rows: Callable[[str, Parameters], Sequence[Row]],
        many: Callable[[str, Parameters], Awaitable[Sequence[Row]]],
        writer: Callable[[], Writer],
        signals: Signals,
    ) -> None:
        """`rows` reads here and now, `many` beside the loop what may be much."""
        self._rows = rows
        self._many = many
        self._writer = writer
        self._signals = signals
        self._claims = count(1)
        self._taken: dict[str, tuple[int, float]] = {}

    async def wait(self, timeout_seconds: float) -> None:
        await self._signals.wait_to_tell(timeout_seconds)

    async def lanes(self, *, limit: int, after: str = "") -> Sequence[Due]:
        return [tellings.due(row) for row in self._rows(tellings.LANES, {"after": after, "limit": limit})]

    async def take(
        self, lanes: Sequence[str], *, now: float, each: int, hold_seconds: float = 120.0
    ) -> Sequence[Outgoing]:
        claim, moment = next(self._claims), clock.monotonic()
        self._taken = {task_id: taken for task_id, taken in self._taken.items() if taken[1] > moment}
        found: dict[str, tuple[str, str]] = {}
        for lane in lanes:
            # What is taken may stand among it.
            limit = each + len(self._taken)
            asked: Parameters = {"lane": lane, "now": now, "far": now + FARTHEST_SECONDS, "limit": limit}
            free = [row for row in self._rows(_TAKE, asked) if row[0] not in self._taken]
            found |= {task_id: (of, url) for task_id, of, url in free[:each]}
        rows = self._rows(
            tellings.PENDING.format("IN (SELECT value FROM json_each(:ids))"), {"ids": json.dumps([*found])}
        )
        self._taken |= dict.fromkeys(found, (claim, moment + hold_seconds))
        return tellings.outgoing(claim, found, rows)

    async def reclaim(self, *, now: float) -> None:
        """Nothing to do: what was held went with the memory of who held it."""

    async def record(self, sent: Sequence[Sent]) -> None:
        believed = [one for one in sent if self._taken.get(one.task_id, (0, 0.0))[0] == one.claim]
        await self._writer().run(lambda connection: _record(connection, believed))
        for one in believed:
            self._taken.pop(one.task_id, None)

    async def give_up(
        self,
        origin: str,
        *,
        now: float,  # noqa: ARG002  who has taken what stands in memory
        before: float,
        limit: int,
        after: Place | None = None,
    ) -> tuple[int, Place | None]:
        rows = await self._many(_OLD, {**tellings.waiting(origin, limit, after), "before": before})
        old = [task_id for task_id, _, _, is_old in rows if is_old and task_id not in self._taken]
        # Nobody takes them meanwhile.
        self._taken |= dict.fromkeys(old, (next(self._claims), math.inf))
        try:
            many = await self._writer().run(lambda connection: _give_up(connection, old, before)) if old else 0
        finally:
            for task_id in old:
                self._taken.pop(task_id, None)
        return many, tellings.following(rows, limit)

    async def subscription(self, task_id: str, caller: Caller) -> Subscription | None:
        return tellings.subscription(self._rows(tellings.SUBSCRIPTION, {"id": task_id}), caller)

    async def redeliver(self, task_id: str, caller: Caller, *, time: float, sequence: int | None = None) -> int | None:
        if await self.subscription(task_id, caller) is None:
            return None
        opened = await self._writer().run(lambda connection: _reopen(connection, task_id, time, sequence))
        self._signals.tell()
        return opened

    async def backlog(self) -> Backlog:
        return tellings.backlog((await self._many(tellings.BACKLOG, {}))[0])


def _record(connection: sqlite3.Connection, sent: Sequence[Sent]) -> None:
    connection.executemany(
        "UPDATE delivery SET status = ?, tries = tries + 1, tried = ?, latency = ?, code = ?, answer = ?, error = ? "
        "WHERE id = ? AND sequence = ?",
        [
            (t.status.value, t.time, t.latency_seconds, t.code, t.answer, t.error, one.task_id, t.sequence)
            for one in sent
            for t in one.tries
        ],
    )
    connection.executemany(
        "UPDATE callback SET open = open - :settled, due = CASE WHEN open > :settled THEN :due END, "
        "since = CASE WHEN open > :settled THEN coalesce(:progress, since) END WHERE id = :id",
        [tellings.progress(one) for one in sent],
    )
    for one in sent:
        if tellings.ends(one):
            connection.execute(
                "UPDATE delivery SET status = ? WHERE id = ? AND status = 'pending'", (Status.ENDED.value, one.task_id)
            )
            connection.execute(
                "UPDATE callback SET open = 0, due = NULL, since = NULL, ended = 1 WHERE id = ?", (one.task_id,)
            )
            connection.execute("UPDATE task SET lane = NULL WHERE id = ?", (one.task_id,))


def _give_up(connection: sqlite3.Connection, task_ids: Sequence[str], before: float) -> int:
    asked = {"ids": json.dumps(task_ids), "before": before}
    late = "status = 'pending' AND time <= :before"
    of_these = "id IN (SELECT value FROM json_each(:ids))"
    connection.execute(
        f"UPDATE callback SET open = open - (SELECT count(*) FROM delivery d WHERE d.id = callback.id AND {late}) "
        f"WHERE {of_these}",
        asked,
    )
    connection.execute(f"UPDATE callback SET due = NULL, since = NULL WHERE open = 0 AND {of_these}", asked)
    return connection.execute(f"UPDATE delivery SET {tellings.GIVEN_UP} WHERE {late} AND {of_these}", asked).rowcount


def _reopen(connection: sqlite3.Connection, task_id: str, time: float, sequence: int | None) -> int:
    opened = connection.execute(tellings.REOPEN, {"id": task_id, "sequence": sequence}).rowcount
    connection.execute(
        "UPDATE callback SET open = open + ?, due = ?, since = coalesce(since, ?) WHERE id = ? AND open + ? > 0",
        (opened, time, time, task_id, opened),
    )
    return opened
