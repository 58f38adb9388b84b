"""Open the file: who may have it, what it is, and bring it up to date."""

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

from tesk.errors import StartError, StoreInUse
from tesk.store.migrate import migrations, missing

_APPLICATION_ID = 0x7465736B
"""Says in the file's header that it is ours."""

_OLDEST = (3, 35, 0)
"""RETURNING came with it."""


def hold(path: Path) -> int:
    """Lock the file against other servers and return the descriptor that holds the lock. Raises StoreInUse, StartError.

    `path` is free of links. The lock lies beside the file, as closing the file itself would drop SQLite's own locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        links = path.stat().st_nlink if path.is_file() else 1
    except OSError as error:
        raise StartError(f"cannot open the database {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreInUse(
            f"another TESK server has {path} open. Stop it, or give this one its own with --data-dir."
        ) from error
    if links > 1:
        os.close(lock)
        raise StartError(
            f"{path} has {links} names (hard links). SQLite keeps its log beside one of them, so the file would be "
            "damaged: copy it to a file of its own."
        )
    return lock


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection that may be used from any thread, one at a time. Raises StartError."""
    if sqlite3.sqlite_version_info < _OLDEST:
        raise StartError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed.")
    try:
        with contextlib.suppress(FileExistsError):
            # Only its owner may read what tasks carry. A file that is there is not touched: closing it would drop the
            # locks of this process's other connections, and the next program would take the log away below them.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        connection = sqlite3.connect(
            path, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=1024
        )
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
    except (sqlite3.Error, OSError) as error:
        raise StartError(f"cannot open the database {path}: {error}") from error
    return connection


def upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date; other programs wait or find it done. Raises StartError, StoreTooNew."""
    steps = migrations("sqlite")
    try:
        if not _is_ours(connection):
            raise StartError(f"{path} is a database of another program.")
        for step in missing(steps, _version(connection), str(path)):
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{step.sql}\n"
                f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {step.version};\nCOMMIT;"
            )
    except sqlite3.Error as error:
        raise StartError(f"cannot bring the database {path} up to date: {error}") from error


def require_current(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StartError where the schema is not this program's."""
    if missing(migrations("sqlite"), _version(connection), str(path)):
        raise StartError(f"{path} is not up to date: run `tesk database upgrade`.")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_ours(connection: sqlite3.Connection) -> bool:
    found = connection.execute("PRAGMA application_id").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    return bool(found == _APPLICATION_ID or (found == 0 and empty))
