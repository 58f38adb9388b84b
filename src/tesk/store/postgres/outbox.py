"""Deliveries on PostgreSQL, which several servers send: who takes a task puts its due time off, so that nobody else takes it."""

import random
from collections.abc import Sequence

from tesk.caller import Caller
from tesk.errors import Unavailable
from tesk.store import tellings
from tesk.store.outbox import FARTHEST_SECONDS, Backlog, Due, Outgoing, Place, Sent, Subscription
from tesk.store.postgres.database import Database
from tesk.store.postgres.statements import LIVING
from tesk.store.signals import Signals
from tesk.store.sql import Parameters

_TAKE = f"""
    WITH picked AS (
        SELECT p.id FROM unnest(:lanes::text[]) l(lane) CROSS JOIN LATERAL (
            SELECT id FROM callback c
            WHERE c.lane = l.lane AND c.due IS NOT NULL AND (c.due <= :now OR c.due > :far)
            ORDER BY c.due LIMIT :each FOR UPDATE SKIP LOCKED
        ) p
    ), taken AS (
        UPDATE callback c SET claim = :claim, due = :until FROM picked p WHERE c.id = p.id RETURNING c.id, c.lane, c.url
    ), pending AS ({tellings.PENDING.format("= ANY(ARRAY(SELECT id FROM picked))")})
    SELECT t.lane, t.url, t.id, d.sequence, d.previous, d.state, d.attempt, d.time, d.tries
    FROM taken t LEFT JOIN pending d ON d.id = t.id ORDER BY t.id, d.sequence
"""

_GIVE_BACK = """
    UPDATE callback SET claim = NULL, due = :now WHERE lane = ANY(:lanes::text[]) AND due IS NOT NULL
    AND claim = ANY(:claims::bigint[])
"""

# A claim has the lease of its server in front: see `PostgresOutbox.under`.
_LEASE_BITS = 31
_GONE = f"SELECT id FROM lease WHERE id <> ALL(:known::bigint[]) AND id NOT IN ({LIVING})"
_RECLAIM = f"""
    UPDATE callback SET claim = NULL, due = :now WHERE due IS NOT NULL AND claim >> {_LEASE_BITS} = ANY(:gone::bigint[])
    RETURNING id
"""

# Claims are looked at on locked rows first, so that what somebody else has taken since is not touched at all.
_RECORD = """
    WITH asked AS (
        SELECT * FROM unnest(
            :ids::text[], :claims::bigint[], :settled::integer[], :lasts::integer[], :dues::double precision[],
            :progress::double precision[], :ends::boolean[]
        ) a(id, claim, settled, last, due, progress, ends)
    ), held AS (
        SELECT a.* FROM asked a JOIN callback c ON c.id = a.id WHERE c.claim = a.claim ORDER BY c.id FOR UPDATE OF c
    ), tried AS (
        UPDATE delivery d SET status = t.status, tries = d.tries + 1, tried = t.time, latency = t.latency, code = t.code,
            answer = t.answer, error = t.error
        FROM unnest(
            :tried::text[], :sequences::integer[], :statuses::text[], :times::double precision[],
            :latencies::double precision[], :codes::integer[], :answers::text[], :errors::text[]
        ) t(id, sequence, status, time, latency, code, answer, error)
        WHERE d.id = t.id AND d.sequence = t.sequence AND t.id = ANY(ARRAY(SELECT id FROM held))
    ), dropped AS (
        UPDATE delivery d SET status = 'ended' FROM held h
        WHERE h.ends AND d.id = h.id AND d.sequence > h.last AND d.status = 'pending'
    ), unsubscribed AS (
        UPDATE task t SET lane = NULL FROM held h WHERE h.ends AND t.id = h.id
    )
    UPDATE callback c SET
        claim = NULL,
        open = CASE WHEN h.ends THEN 0 ELSE c.open - h.settled END,
        due = CASE WHEN NOT h.ends AND c.open > h.settled THEN h.due END,
        since = CASE WHEN NOT h.ends AND c.open > h.settled THEN coalesce(h.progress, c.since) END,
        ended = c.ended OR h.ends
    FROM held h WHERE c.id = h.id RETURNING c.id
"""

_REDELIVER = f"""
    WITH held AS (
        SELECT id FROM callback WHERE id = :id FOR UPDATE
    ), opened AS ({tellings.REOPEN} AND id IN (SELECT id FROM held) RETURNING id
    ), changed AS (
        UPDATE callback c SET open = c.open + n.opened, due = :time::double precision, claim = NULL,
            since = coalesce(c.since, :time::double precision)
        FROM (SELECT count(*) AS opened FROM opened) n WHERE c.id = :id AND c.open + n.opened > 0 RETURNING c.id
    )
    SELECT count(*), (SELECT max(pg_notify('tesk', 'D')::text) FROM changed) FROM opened
"""

_GIVE_UP = f"""
    WITH waiting AS ({tellings.WAITING}), held AS (
        SELECT c.id FROM callback c JOIN waiting w ON w.id = c.id
        WHERE (c.claim IS NULL OR c.due <= :now) AND EXISTS (
            SELECT 1 FROM delivery d WHERE d.id = c.id AND d.status = 'pending' AND d.time <= :before
        ) ORDER BY c.id FOR UPDATE OF c SKIP LOCKED
    ), failed AS (
        UPDATE delivery SET {tellings.GIVEN_UP}
        WHERE id IN (SELECT id FROM held) AND status = 'pending' AND time <= :before RETURNING id
    ), changed AS (
        UPDATE callback c SET
            claim = NULL,
            open = c.open - f.many,
            due = CASE WHEN c.open > f.many THEN c.due END,
            since = CASE WHEN c.open > f.many THEN c.since END
        FROM (SELECT id, count(*) AS many FROM failed GROUP BY id) f WHERE c.id = f.id
    )
    SELECT w.id, w.lane, w.due, (SELECT count(*) FROM failed) FROM waiting w ORDER BY w.lane, w.due, w.id
"""


class PostgresOutbox:
    """See `Outbox`."""

    def __init__(self, database: Database, signals: Signals) -> None:
        self._database = database
        self._signals = signals
        self._unheard: dict[int, Sequence[str]] = {}
        """Claims, and on which lanes, of which nobody knows whether they were made: the database went away with the answer."""
        self._lease = 0
        self._known: set[int] = set()
        """Leases of our own, and those that have ended and hold nothing more."""

    def under(self, lease: int) -> None:
        """Take under this lease from now on: when it has ended, others may have what was taken. Until then, nobody's."""
        self._lease = lease
        # What was taken under one that we lost we may still be sending.
        self._known.add(lease)

    async def wait(self, timeout_seconds: float) -> None:
        await self._signals.wait_to_tell(timeout_seconds)

    async def lanes(self, *, limit: int, after: str = "") -> Sequence[Due]:
        return [
            tellings.due(row) for row in await self._database.rows(tellings.LANES, {"after": after, "limit": limit})
        ]

    async def take(
        self, lanes: Sequence[str], *, now: float, each: int, hold_seconds: float = 120.0
    ) -> Sequence[Outgoing]:
        if self._unheard:
            lost = dict(self._unheard)
            theirs = list({lane for each in lost.values() for lane in each})
            await self._database.rows(_GIVE_BACK, {"lanes": theirs, "claims": [*lost], "now": now})
            self._unheard = {claim: each for claim, each in self._unheard.items() if claim not in lost}
        claim = self._lease << _LEASE_BITS | random.getrandbits(_LEASE_BITS)
        parameters: Parameters = {
            "lanes": [*lanes],
            "now": now,
            "far": now + FARTHEST_SECONDS,
            "each": each,
            "claim": claim,
            "until": now + hold_seconds,
        }
        try:
            rows = await self._database.rows(_TAKE, parameters)
        except Unavailable:
            self._unheard[claim] = lanes
            raise
        found = {row[2]: (row[0], row[1]) for row in rows}
        return tellings.outgoing(claim, found, [row[2:] for row in rows if row[3] is not None])

    async def reclaim(self, *, now: float) -> None:
        gone = [row[0] for row in await self._database.rows(_GONE, {"known": [*self._known]})]
        if not gone:
            return
        if await self._database.rows(_RECLAIM, {"gone": gone, "now": now}):
            self._signals.tell()
        self._known.update(gone)

    async def record(self, sent: Sequence[Sent]) -> None:
        if not sent:
            return
        changes = [tellings.progress(one) for one in sent]
        tries = [(one.task_id, each) for one in sent for each in one.tries]
        await self._database.rows(
            _RECORD,
            {
                "ids": [one.task_id for one in sent],
                "claims": [one.claim for one in sent],
                "settled": [change["settled"] for change in changes],
                "lasts": [one.tries[-1].sequence if one.tries else 0 for one in sent],
                "dues": [one.due for one in sent],
                "progress": [change["progress"] for change in changes],
                "ends": [tellings.ends(one) for one in sent],
                "tried": [task_id for task_id, _ in tries],
                "sequences": [each.sequence for _, each in tries],
                "statuses": [each.status.value for _, each in tries],
                "times": [each.time for _, each in tries],
                "latencies": [each.latency_seconds for _, each in tries],
                "codes": [each.code for _, each in tries],
                "answers": [each.answer for _, each in tries],
                "errors": [each.error for _, each in tries],
            },
        )

    async def give_up(
        self, origin: str, *, now: float, before: float, limit: int, after: Place | None = None
    ) -> tuple[int, Place | None]:
        asked = {**tellings.waiting(origin, limit, after), "before": before, "now": now}
        rows = await self._database.rows(_GIVE_UP, asked)
        return (rows[0][3] if rows else 0), tellings.following(rows, limit)

    async def subscription(self, task_id: str, caller: Caller) -> Subscription | None:
        return tellings.subscription(await self._database.rows(tellings.SUBSCRIPTION, {"id": task_id}), caller)

    async def redeliver(self, task_id: str, caller: Caller, *, time: float, sequence: int | None = None) -> int | None:
        if await self.subscription(task_id, caller) is None:
            return None
        rows = await self._database.rows(_REDELIVER, {"id": task_id, "sequence": sequence, "time": time})
        opened: int = rows[0][0]
        return opened

    async def backlog(self) -> Backlog:
        return tellings.backlog((await self._database.rows(tellings.BACKLOG, {}))[0])
