"""Connections to one PostgreSQL database: opened as the store needs them, its errors put into our words, its news heard."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import asyncpg
from asyncpg import Connection

from tesk.errors import StartError, Unavailable
from tesk.store.migrate import migrations, missing
from tesk.store.postgres.statements import RESUME
from tesk.store.shape import Row
from tesk.store.sql import Parameters, arguments, numbered

_OLDEST = 130000
"""64-bit transaction numbers came with 13."""

_LOCK = 0x7465736B
"""The advisory lock that one server at a time migrates under."""

_SETTINGS = {
    "application_name": "tesk",
    "search_path": "tesk",
    "timezone": "UTC",
    # Everything we ask is answered along an index. A planner that has not seen the tables grow yet must not think better.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
_DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"

_COMMAND_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_HEARTBEAT_SECONDS = 10.0
_RECONNECT_SECONDS = 0.5

# The internal one is what asyncpg says of a connection that its server is about to end.
_FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_COLLISIONS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_TRIES = 3


class _Kept(Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that goes back to the pool as it is: we leave nothing on it, and a reset is a round trip."""

    def get_reset_query(self) -> str:
        return ""


class Database:
    """A pool, and one connection more that listens."""

    def __init__(self, url: str, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        """`heard` is told of each notification, `missed` when some may have been lost."""
        self._url = url
        self._heard = heard
        self._missed = missed
        self.listening = False

    async def open(self, *, migrate: bool) -> None:
        """Connect, and bring the schema up to date, or see that it is. Raises StartError, StoreTooNew."""
        try:
            connection = await self._connect()
            try:
                await _upgrade(connection, migrate=migrate)
            finally:
                await connection.close(timeout=_CONNECT_SECONDS)
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=10,
                connection_class=_Kept,
                server_settings=_SETTINGS,
                command_timeout=_COMMAND_SECONDS,
                timeout=_CONNECT_SECONDS,
                init=_make_durable,
            )
        except (*_FAULTS, ValueError) as error:
            raise StartError(f"cannot open the PostgreSQL database: {error}") from error
        self._listener = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Close every connection."""
        self._listener.cancel()
        await asyncio.wait((self._listener,))
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._pool.close()
        except _FAULTS:
            self._pool.terminate()

    async def rows(self, statement: str, parameters: Parameters) -> Sequence[Row]:
        """Run one statement, which is a transaction, and return its rows. Raises Unavailable."""
        text, names = numbered(statement)
        values = arguments(names, parameters)
        for last in (False,) * (_TRIES - 1) + (True,):
            with _in_our_words():
                try:
                    async with self._connection() as connection:
                        rows: Sequence[Row] = await connection.fetch(text, *values)
                except _COLLISIONS:
                    # Another server was in the way and won; nothing of ours happened.
                    if last:
                        raise
                else:
                    return rows
        raise AssertionError

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Open a transaction for several statements. Raises Unavailable."""
        with _in_our_words():
            async with self._connection() as connection, connection.transaction():
                yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with self._pool.acquire() as connection:
            try:
                yield connection
            except asyncpg.InternalClientError:
                # The server has said that it ends the connection and not ended it yet: nobody else shall get it.
                connection.terminate()
                raise

    async def _connect(self) -> Connection:
        return await asyncpg.connect(
            self._url, timeout=_CONNECT_SECONDS, command_timeout=_COMMAND_SECONDS, server_settings=_SETTINGS
        )

    async def _listen(self) -> None:
        while True:
            try:
                connection, lost = await self._connect(), asyncio.Event()
            except _FAULTS:
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            try:
                await connection.add_listener("tesk", lambda _c, _p, _n, payload: self._heard(payload))
                connection.add_termination_listener(lambda _, lost=lost: lost.set())
                self.listening = True
                self._missed()
                while True:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_HEARTBEAT_SECONDS):
                            await lost.wait()
                    # Raises where it was lost, and a line that is dead without a word is found out.
                    await connection.execute("SELECT 1", timeout=_CONNECT_SECONDS)
            except _FAULTS:
                self.listening = False
            finally:
                self.listening = False
                connection.terminate()


async def fetch(connection: Connection, statement: str, parameters: Parameters) -> Sequence[Row]:
    """Run one statement in an open transaction and return its rows."""
    text, names = numbered(statement)
    rows: Sequence[Row] = await connection.fetch(text, *arguments(names, parameters))
    return rows


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError:
        raise
    except _FAULTS as error:
        raise Unavailable(f"the database does not answer: {error}", retry_after_seconds=5) from error


async def _make_durable(connection: Connection) -> None:
    await connection.execute(_DURABLE)


async def _upgrade(connection: Connection, *, migrate: bool) -> None:
    if int(await connection.fetchval("SHOW server_version_num")) < _OLDEST:
        raise StartError("this PostgreSQL is too old: 13 or newer is needed")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise StartError(f"the database is encoded in {encoding}: make one with ENCODING 'UTF8'")
    steps = migrations("postgres")
    # Freed with the connection, also when this program dies.
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK, timeout=None)
    if await connection.fetchval("SELECT to_regclass('tesk.version')") is None:
        version = 0
    else:
        version = await connection.fetchval("SELECT max(version) FROM tesk.version")
    wanted = missing(steps, version, "the PostgreSQL database")
    if wanted and not migrate:
        raise StartError("the PostgreSQL database is not up to date: run `tesk database upgrade`")
    for step in wanted:
        async with connection.transaction():
            await connection.execute("CREATE SCHEMA IF NOT EXISTS tesk")
            await connection.execute("CREATE TABLE IF NOT EXISTS tesk.version (version integer NOT NULL)")
            await connection.execute(step.sql)
            await connection.execute("INSERT INTO tesk.version VALUES ($1)", step.version)
    if migrate:
        await connection.execute(RESUME)
