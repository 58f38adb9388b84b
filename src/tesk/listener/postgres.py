"""The ledger in a PostgreSQL database, which several listeners share: what one records wakes those who wait at another."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Sequence

import asyncpg

from tesk.errors import StartError, Unavailable
from tesk.listener.heard import Heard, Known, Verdict
from tesk.listener.ledger import Due, News, Pass, Saying, Subscription
from tesk.listener.weigh import weigh
from tesk.tes.state import TERMINAL, State
from tesk.tes.told import Told

_CHANNEL = "tesk_listener"
_SETTINGS = {"application_name": "tesk-listener", "search_path": "tesk_listener", "jit": "off"}
_LOCK = 0x7465736C
"""Who records holds it to the end of the transaction: positions grow as they can be seen, and nobody judges what another does."""
_COMMAND_SECONDS = 30.0
_RECONNECT_SECONDS = 0.5
_HEARTBEAT_SECONDS = 10.0
_FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_SLICE = 20_000
_STEPS = (
    """
CREATE TABLE task (
    subscription text NOT NULL, id text NOT NULL, state text NOT NULL, sequence bigint NOT NULL, time text NOT NULL,
    previous_state text, attempt bigint NOT NULL, at double precision NOT NULL, ask double precision,
    asks integer NOT NULL DEFAULT 0, PRIMARY KEY (id, subscription)
);
CREATE INDEX task_ask ON task (ask) WHERE ask IS NOT NULL;
CREATE INDEX task_at ON task (at);
CREATE TABLE news (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, subscription text NOT NULL, id text NOT NULL,
    state text NOT NULL, sequence bigint NOT NULL, time text NOT NULL, previous_state text, attempt bigint NOT NULL,
    at double precision NOT NULL
);
CREATE TABLE subscription (
    id text PRIMARY KEY, server text NOT NULL, server_token text NOT NULL, at double precision NOT NULL
);
CREATE TABLE token (digest bytea PRIMARY KEY, subscription text NOT NULL, kind text NOT NULL);
""",
)
"""What makes each version of the tables of the one before."""
_COLUMNS = "subscription, id, state, sequence, time, previous_state, attempt, at"
_ROWS = "$1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::float8[]"
_RECORD = f"""
INSERT INTO task ({_COLUMNS}, ask) SELECT * FROM unnest({_ROWS}, $9::float8[])
ON CONFLICT (id, subscription) DO UPDATE SET state = excluded.state,
    sequence = greatest(task.sequence, excluded.sequence), time = excluded.time,
    previous_state = excluded.previous_state, attempt = excluded.attempt, at = excluded.at, ask = excluded.ask, asks = 0
"""
_TELL = f"""
INSERT INTO news ({_COLUMNS})
SELECT {_COLUMNS} FROM unnest({_ROWS}) WITH ORDINALITY AS each ({_COLUMNS}, n) ORDER BY n
"""
_EXPECT = """
INSERT INTO task (subscription, id, state, sequence, time, attempt, at, ask)
SELECT subscription, id, 'UNKNOWN', 0, '', 0, at, ask
FROM unnest($1::text[], $2::text[], $3::float8[], $4::float8[]) AS each (subscription, id, at, ask)
ON CONFLICT (id, subscription) DO
"""
_TOLD = "id, state, time, sequence, previous_state, attempt"
_ENDED = f"state IN ({', '.join(repr(state.value) for state in sorted(TERMINAL))})"


class PostgresLedger:
    """See Ledger."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._news = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self._pool: asyncpg.Pool | None = None

    async def open(self) -> None:
        """Raises StartError."""
        try:
            connection = await self._connect()
            try:
                await _upgrade(connection)
            finally:
                await connection.close()
            self._pool = await asyncpg.create_pool(
                self._url, min_size=1, max_size=8, server_settings=_SETTINGS, command_timeout=_COMMAND_SECONDS
            )
        except (*_FAULTS, ValueError) as error:
            raise StartError(f"cannot open the PostgreSQL database: {error}") from error
        self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait((self._listening,))
        if self._pool is not None:
            self._pool.terminate()

    async def ping(self) -> None:
        async with self._transaction() as connection:
            await connection.execute("SELECT 1")

    async def take(self, sayings: Sequence[Saying]) -> list[Verdict]:
        ids = list({saying.heard.id for saying in sayings})
        async with self._transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            rows = await connection.fetch(
                "SELECT subscription, id, state, sequence, at FROM task WHERE id = ANY ($1)", ids
            )
            known = {(row[0], row[1]): Known(state=State(row[2]), sequence=row[3], at=row[4]) for row in rows}
            weighed = weigh(known, sayings)
            if weighed.last:
                await connection.execute(_TELL, *_columns(weighed.news))
                await connection.execute(
                    _RECORD, *_columns([each.heard for each in weighed.last]), [each.ask for each in weighed.last]
                )
            doubted = [each.heard for each in weighed.doubted if each.ask is not None]
            if doubted:
                at = [each.at for each in doubted]
                await connection.execute(
                    _EXPECT + "UPDATE SET ask = least(coalesce(task.ask, excluded.ask), excluded.ask)",
                    [each.subscription for each in doubted],
                    [each.id for each in doubted],
                    at,
                    at,
                )
            if weighed.last:
                await connection.execute("SELECT pg_notify($1, '')", _CHANNEL)
        return weighed.verdicts

    async def expect(self, subscription: str, task_ids: Sequence[str], at: float, ask: float | None) -> None:
        many = len(task_ids)
        async with self._transaction() as connection:
            await connection.execute(
                _EXPECT + "NOTHING", [subscription] * many, list(task_ids), [at] * many, [ask] * many
            )

    async def get(self, task_id: str, subscription: str | None) -> Told | None:
        async with self._transaction() as connection:
            row = await connection.fetchrow(
                f"SELECT {_TOLD} FROM task WHERE id = $1 AND ($2::text IS NULL OR subscription = $2) "
                f"ORDER BY ({_ENDED}) DESC, at DESC LIMIT 1",
                task_id,
                subscription,
            )
        return None if row is None else Told(**row)

    async def ended(self, task_ids: Sequence[str], subscription: str | None) -> list[Told]:
        async with self._transaction() as connection:
            rows = await connection.fetch(
                f"SELECT {_TOLD} FROM task WHERE id = ANY ($1) AND ($2::text IS NULL OR subscription = $2) AND {_ENDED}",
                list(task_ids),
                subscription,
            )
        return [Told(**row) for row in rows]

    async def news(self, after: int, limit: int, subscription: str | None = None) -> list[News]:
        async with self._transaction() as connection:
            rows = await connection.fetch(
                f"SELECT position, subscription, {_TOLD} FROM news WHERE position > $1 "
                "AND ($3::text IS NULL OR subscription = $3) ORDER BY position LIMIT $2",
                after,
                limit,
                subscription,
            )
        return [News(row[0], row[1], Told(**dict(list(row.items())[2:]))) for row in rows]

    async def newest(self) -> int:
        async with self._transaction() as connection:
            # Nobody records: what has a position can be seen. Also where all were pruned.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            found = await connection.fetchval(
                "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('news', 'position')::regclass), 0)"
            )
        return int(found)

    async def oldest(self) -> int:
        async with self._transaction() as connection:
            found = await connection.fetchval("SELECT min(position) FROM news")
        return await self.newest() + 1 if found is None else int(found)

    async def wait_for_news(self, timeout_seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._news.wait()
        self._news.clear()

    async def subscribe(self, subscription: Subscription, tokens: Sequence[tuple[bytes, str]], now: float) -> None:
        async with self._transaction() as connection:
            await connection.execute(
                "INSERT INTO subscription VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET "
                "server = excluded.server, server_token = excluded.server_token",
                subscription.id,
                subscription.server,
                subscription.server_token,
                now,
            )
            await connection.executemany(
                "INSERT INTO token VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                [(digest, subscription.id, kind) for digest, kind in tokens],
            )

    async def subscription(self, subscription: str) -> Subscription | None:
        async with self._transaction() as connection:
            row = await connection.fetchrow(
                "SELECT id, server, server_token FROM subscription WHERE id = $1", subscription
            )
        return None if row is None else Subscription(**row)

    async def unsubscribe(self, subscription: str) -> bool:
        async with self._transaction() as connection:
            for table in ("token", "task", "news"):
                await connection.execute(f"DELETE FROM {table} WHERE subscription = $1", subscription)
            done: str = await connection.execute("DELETE FROM subscription WHERE id = $1", subscription)
        return not done.endswith(" 0")

    async def lookup(self, digest: bytes) -> Pass | None:
        async with self._transaction() as connection:
            row = await connection.fetchrow(
                "SELECT token.subscription, kind, server <> '' FROM token JOIN subscription ON subscription.id = "
                "token.subscription WHERE digest = $1",
                digest,
            )
        return None if row is None else Pass(*row)

    async def due(self, now: float, until: float, limit: int, far: float = math.inf) -> list[Due]:
        async with self._transaction() as connection:
            await connection.execute("UPDATE task SET ask = $1 WHERE ask > $2", now, far)
            rows = await connection.fetch(
                "UPDATE task SET ask = $2 WHERE (id, subscription) IN (SELECT id, subscription FROM task "
                "WHERE ask <= $1 ORDER BY ask LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING subscription, id, asks",
                now,
                until,
                limit,
            )
        return [Due(*row) for row in rows]

    async def asked(self, due: Due, ask: float | None) -> None:
        async with self._transaction() as connection:
            await connection.execute(
                "UPDATE task SET ask = $1, asks = $2 WHERE id = $3 AND subscription = $4 AND ask IS NOT NULL",
                ask,
                due.asks + 1,
                due.id,
                due.subscription,
            )

    async def prune(self, ended_before: float) -> int:
        whole = 0
        while True:
            async with self._transaction() as connection:
                tasks = await connection.fetchval(
                    "WITH gone AS (DELETE FROM task WHERE (id, subscription) IN (SELECT id, subscription FROM task "
                    "WHERE at < $1 AND (ask IS NULL OR state = 'UNKNOWN') LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING 1) "
                    "SELECT count(*) FROM gone",
                    ended_before,
                    _SLICE,
                )
                moves = await connection.fetchval(
                    "WITH gone AS (DELETE FROM news WHERE at < $1 AND position IN (SELECT position FROM news "
                    "ORDER BY position LIMIT $2) RETURNING 1) SELECT count(*) FROM gone",
                    ended_before,
                    _SLICE,
                )
            whole += int(tasks)
            if max(tasks, moves) < _SLICE:
                return whole

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """Raises Unavailable."""
        assert self._pool is not None
        try:
            async with self._pool.acquire(timeout=_COMMAND_SECONDS) as connection, connection.transaction():
                yield connection
        except _FAULTS as error:
            raise Unavailable(f"the database does not answer: {error}", retry_after_seconds=5) from error

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self._url, server_settings=_SETTINGS, command_timeout=_COMMAND_SECONDS)

    async def _listen(self) -> None:
        while True:
            try:
                connection, lost = await self._connect(), asyncio.Event()
            except _FAULTS:
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            try:
                await connection.add_listener(_CHANNEL, lambda *_: self._news.set())
                connection.add_termination_listener(lambda _, lost=lost: lost.set())
                self._news.set()
                while True:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_HEARTBEAT_SECONDS):
                            await lost.wait()
                    # Raises where it was lost, and a line that is dead without a word is found out.
                    await connection.execute("SELECT 1")
            except _FAULTS:
                await asyncio.sleep(_RECONNECT_SECONDS)
            finally:
                connection.terminate()


def _columns(news: Sequence[Heard]) -> list[list[object]]:
    return [
        [one.subscription for one in news],
        [one.id for one in news],
        [one.state.value for one in news],
        [one.sequence for one in news],
        [one.time for one in news],
        [one.previous_state for one in news],
        [one.attempt for one in news],
        [one.at for one in news],
    ]


async def _upgrade(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute("CREATE SCHEMA IF NOT EXISTS tesk_listener")
        await connection.execute("CREATE TABLE IF NOT EXISTS version (version integer NOT NULL)")
        version = await connection.fetchval("SELECT coalesce(max(version), 0) FROM version")
        if version > len(_STEPS):
            raise StartError("the PostgreSQL database was written by a newer listener.")
        for number, step in enumerate(_STEPS[version:], version + 1):
            await connection.execute(step)
            await connection.execute("INSERT INTO version VALUES ($1)", number)
