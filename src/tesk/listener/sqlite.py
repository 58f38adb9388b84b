"""The ledger in a SQLite file, of one listener: one thread, one connection, one transaction for all that came meanwhile."""

import asyncio
import contextlib
import fcntl
import json
import math
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from tesk.errors import StartError, StoreInUse, Unavailable
from tesk.listener.heard import Heard, Known, Verdict, told
from tesk.listener.ledger import Due, News, Pass, Saying, Subscription
from tesk.listener.weigh import Weighed, weigh
from tesk.tes.state import TERMINAL, State
from tesk.tes.told import Told

T = TypeVar("T")

MEMORY = ":memory:"
_APPLICATION_ID = 0x7465736C
_VERSION = 1
_SCHEMA = """
CREATE TABLE task (
    subscription TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, sequence INTEGER NOT NULL, time TEXT NOT NULL,
    previous_state TEXT, attempt INTEGER NOT NULL, at REAL NOT NULL, ask REAL, asks INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (id, subscription)
) WITHOUT ROWID;
CREATE INDEX task_ask ON task (ask) WHERE ask IS NOT NULL;
CREATE INDEX task_at ON task (at);
CREATE TABLE news (
    position INTEGER PRIMARY KEY AUTOINCREMENT, subscription TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL,
    sequence INTEGER NOT NULL, time TEXT NOT NULL, previous_state TEXT, attempt INTEGER NOT NULL, at REAL NOT NULL
);
CREATE TABLE subscription (id TEXT PRIMARY KEY, server TEXT NOT NULL, server_token TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE token (digest BLOB PRIMARY KEY, subscription TEXT NOT NULL, kind TEXT NOT NULL) WITHOUT ROWID;
"""
_KNOWN = """
SELECT subscription, id, state, sequence, at FROM task WHERE id IN (SELECT value FROM json_each(?))
"""
_FIELDS = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(9))
_COLUMNS = "subscription, id, state, sequence, time, previous_state, attempt, at"
# One statement for many rows: the thread lets go of the interpreter at each, and waits for the busy loop to get it back.
_RECORD = f"""
INSERT INTO task ({_COLUMNS}, ask) SELECT {_FIELDS} FROM json_each(?) WHERE true
ON CONFLICT (id, subscription) DO UPDATE SET state = excluded.state, sequence = max(sequence, excluded.sequence),
    time = excluded.time, previous_state = excluded.previous_state, attempt = excluded.attempt, at = excluded.at,
    ask = excluded.ask, asks = 0
"""
_TELL = f"INSERT INTO news ({_COLUMNS}, position) SELECT {_FIELDS} FROM json_each(?)"
_EXPECT = """
INSERT INTO task (subscription, id, state, sequence, time, attempt, at, ask) VALUES (?, ?, 'UNKNOWN', 0, '', 0, ?, ?)
"""
_TOLD = "id, state, time, sequence, previous_state, attempt"
_ENDED = f"state IN ({', '.join(repr(state.value) for state in sorted(TERMINAL))})"
_RECENT = 10_000
"""The newest moves are kept here, too: all who wait want them."""
_SLICE = 20_000
"""Rows that are pruned in one transaction: callbacks wait for it."""


class SqliteLedger:
    """See Ledger. `path` may be MEMORY: then nothing outlives the process."""

    def __init__(self, path: str) -> None:
        self._path = path if path == MEMORY else str(Path(path).expanduser().resolve())
        self._thread = ThreadPoolExecutor(1, "tesk-listener")
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._news = asyncio.Event()
        self._taking = asyncio.Lock()
        self._position = 0
        self._recent: deque[News] = deque(maxlen=_RECENT)

    async def open(self) -> None:
        """Raises StartError, StoreInUse."""
        if self._path != MEMORY:
            self._lock = _hold(Path(self._path))
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    async def close(self) -> None:
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()
        if self._lock is not None:
            os.close(self._lock)

    async def ping(self) -> None:
        await self._run(lambda connection: connection.execute("SELECT 1").fetchone())

    async def take(self, sayings: Sequence[Saying]) -> list[Verdict]:
        async with self._taking:  # each begins at the position where the one before it ended
            weighed = await self._run(lambda connection: _take(connection, sayings, self._position))
            begin = self._position + 1
            self._position += len(weighed.news)
        self._recent.extend(News(begin + n, one.subscription, told(one)) for n, one in enumerate(weighed.news))
        if weighed.news:
            self._news.set()
        return weighed.verdicts

    async def expect(self, subscription: str, task_ids: Sequence[str], at: float, ask: float | None) -> None:
        rows = [(subscription, task_id, at, ask) for task_id in task_ids]
        await self._run(lambda connection: connection.executemany(_EXPECT + "ON CONFLICT DO NOTHING", rows))

    async def get(self, task_id: str, subscription: str | None) -> Told | None:
        found = await self._run(
            lambda connection: connection.execute(
                f"SELECT {_TOLD} FROM task WHERE id = ?1 AND (?2 IS NULL OR subscription = ?2) "
                f"ORDER BY {_ENDED} DESC, at DESC LIMIT 1",
                (task_id, subscription),
            ).fetchone()
        )
        return None if found is None else _told(found)

    async def ended(self, task_ids: Sequence[str], subscription: str | None) -> list[Told]:
        rows = await self._run(
            lambda connection: connection.execute(
                f"SELECT {_TOLD} FROM task WHERE id IN (SELECT value FROM json_each(?1)) "
                f"AND (?2 IS NULL OR subscription = ?2) AND {_ENDED}",
                (json.dumps(list(task_ids)), subscription),
            ).fetchall()
        )
        return [_told(row) for row in rows]

    async def news(self, after: int, limit: int, subscription: str | None = None) -> list[News]:
        if after >= self._position:
            return []
        first = self._position - len(self._recent) + 1
        if after >= first - 1:
            recent = islice(self._recent, after - first + 1, None)
            return list(islice((one for one in recent if subscription in (None, one.subscription)), limit))
        rows = await self._run(
            lambda connection: connection.execute(
                f"SELECT position, subscription, {_TOLD} FROM news WHERE position > ?1 "
                "AND (?3 IS NULL OR subscription = ?3) ORDER BY position LIMIT ?2",
                (after, limit, subscription),
            ).fetchall()
        )
        return [News(row[0], row[1], _told(row[2:])) for row in rows]

    async def newest(self) -> int:
        return self._position

    async def oldest(self) -> int:
        found = await self._run(lambda connection: connection.execute("SELECT min(position) FROM news").fetchone()[0])
        return self._position + 1 if found is None else int(found)

    async def wait_for_news(self, timeout_seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._news.wait()
        self._news.clear()

    async def subscribe(self, subscription: Subscription, tokens: Sequence[tuple[bytes, str]], now: float) -> None:
        def change(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO subscription VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET server = excluded.server, "
                "server_token = excluded.server_token",
                (subscription.id, subscription.server, subscription.server_token, now),
            )
            connection.executemany(
                "INSERT INTO token VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [(digest, subscription.id, kind) for digest, kind in tokens],
            )

        await self._run(change)

    async def subscription(self, subscription: str) -> Subscription | None:
        row = await self._run(
            lambda connection: connection.execute(
                "SELECT id, server, server_token FROM subscription WHERE id = ?", (subscription,)
            ).fetchone()
        )
        return None if row is None else Subscription(id=row[0], server=row[1], server_token=row[2])

    async def unsubscribe(self, subscription: str) -> bool:
        def change(connection: sqlite3.Connection) -> bool:
            for table in ("token", "task", "news"):
                connection.execute(f"DELETE FROM {table} WHERE subscription = ?", (subscription,))
            return connection.execute("DELETE FROM subscription WHERE id = ?", (subscription,)).rowcount > 0

        return await self._run(change)

    async def lookup(self, digest: bytes) -> Pass | None:
        row = await self._run(
            lambda connection: connection.execute(
                "SELECT token.subscription, kind, server <> '' FROM token JOIN subscription ON subscription.id = "
                "token.subscription WHERE digest = ?",
                (digest,),
            ).fetchone()
        )
        return None if row is None else Pass(row[0], row[1], bool(row[2]))

    async def due(self, now: float, until: float, limit: int, far: float = math.inf) -> list[Due]:
        def change(connection: sqlite3.Connection) -> list[tuple[str, str, int]]:
            connection.execute("UPDATE task SET ask = ? WHERE ask > ?", (now, far))
            return connection.execute(
                "UPDATE task SET ask = ?2 WHERE (id, subscription) IN (SELECT id, subscription FROM task "
                "WHERE ask <= ?1 ORDER BY ask LIMIT ?3) RETURNING subscription, id, asks",
                (now, until, limit),
            ).fetchall()

        return [Due(*row) for row in await self._run(change)]

    async def asked(self, due: Due, ask: float | None) -> None:
        await self._run(
            lambda connection: connection.execute(
                "UPDATE task SET ask = ?, asks = ? WHERE id = ? AND subscription = ? AND ask IS NOT NULL",
                (ask, due.asks + 1, due.id, due.subscription),
            )
        )

    async def prune(self, ended_before: float) -> int:
        def change(connection: sqlite3.Connection) -> tuple[int, int]:
            tasks = connection.execute(
                "DELETE FROM task WHERE (id, subscription) IN (SELECT id, subscription FROM task WHERE at < ? "
                "AND (ask IS NULL OR state = 'UNKNOWN') LIMIT ?)",
                (ended_before, _SLICE),
            ).rowcount
            moves = connection.execute(
                "DELETE FROM news WHERE at < ? AND position IN (SELECT position FROM news ORDER BY position LIMIT ?)",
                (ended_before, _SLICE),
            ).rowcount
            return tasks, moves

        whole = 0
        while True:
            tasks, moves = await self._run(change)
            whole += tasks
            if max(tasks, moves) < _SLICE:
                return whole

    async def _run(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run in the thread, in a transaction. Raises Unavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._change, change)

    # -- in the thread ---------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            if self._path != MEMORY:
                with contextlib.suppress(FileExistsError):
                    # It holds tokens of TES servers: only its owner may read it.
                    os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            connection = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            owner = connection.execute("PRAGMA application_id").fetchone()[0]
            filled = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if filled and owner != _APPLICATION_ID:
                raise StartError(f"{self._path} is a database of another program.")
            if version > _VERSION:
                raise StartError(f"{self._path} was written by a newer program.")
            if not filled:
                connection.executescript(
                    f"BEGIN IMMEDIATE;\n{_SCHEMA}\nPRAGMA application_id = {_APPLICATION_ID};\n"
                    f"PRAGMA user_version = {_VERSION};\nCOMMIT;"
                )
            # Also where all were pruned.
            newest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'news'").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise StartError(f"cannot open the database {self._path}: {error}") from error
        self._position = newest[0] if newest else 0
        self._connection = connection

    def _change(self, change: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        assert connection is not None
        try:
            connection.execute("BEGIN")
            result = change(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise Unavailable(f"the database cannot be used: {error}", retry_after_seconds=5) from error
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return result


def _take(connection: sqlite3.Connection, sayings: Sequence[Saying], position: int) -> Weighed:
    ids = _json([saying.heard.id for saying in sayings])
    known = {
        (subscription, task_id): Known(state=State(state), sequence=sequence, at=at)
        for subscription, task_id, state, sequence, at in connection.execute(_KNOWN, (ids,)).fetchall()
    }
    weighed = weigh(known, sayings)
    if weighed.news:
        connection.execute(_TELL, (_json([_row(one, n) for n, one in enumerate(weighed.news, position + 1)]),))
        connection.execute(_RECORD, (_json([_row(one, ask) for one, ask in weighed.last]),))
    connection.executemany(
        _EXPECT + "ON CONFLICT (id, subscription) DO UPDATE SET ask = min(coalesce(ask, excluded.ask), excluded.ask)",
        [(one.subscription, one.id, one.at, one.at) for one, ask in weighed.doubted if ask is not None],
    )
    return weighed


def _json(rows: object) -> str:
    return msgspec.json.encode(rows).decode()


def _row(one: Heard, last: float | None) -> tuple[str | float | None, ...]:
    """Return the values of _COLUMNS, and one more."""
    return (one.subscription, one.id, one.state, one.sequence, one.time, one.previous_state, one.attempt, one.at, last)


def _told(row: Sequence[str | int | None]) -> Told:
    task_id, state, time, sequence, previous_state, attempt = row
    return Told(
        id=str(task_id),
        state=str(state),
        time=str(time),
        sequence=int(sequence or 0),
        previous_state=None if previous_state is None else str(previous_state),
        attempt=int(attempt or 0),
    )


def _hold(path: Path) -> int:
    """Lock the file against other listeners. Raises StartError, StoreInUse."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"cannot open the database {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreInUse(f"another listener has {path} open; several share a PostgreSQL database") from error
    return lock
