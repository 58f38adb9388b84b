"""Prune, back up and check a file, each while it is in use."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from tesk.errors import StartError
from tesk.store import reads
from tesk.store.pairs import unpack
from tesk.store.report import complaints

_TASKS = 200
_EVENTS = 2000
"""How much one transaction removes: others wait for it."""


def prune_tasks(connection: sqlite3.Connection, ended_before: float, after: str) -> tuple[int, str | None]:
    """Remove some tasks that ended before a time, oldest first; return how many, and the id to go on after."""
    rows = connection.execute(
        "SELECT id, ended < ? FROM task WHERE id > ? AND created < ? ORDER BY id LIMIT ?",
        (ended_before, after, ended_before, _TASKS),
    ).fetchall()
    ids = [(task_id,) for task_id, old in rows if old]
    for (task_id,) in ids:
        (packed,) = connection.execute("SELECT pairs FROM body WHERE id = ?", (task_id,)).fetchone()
        connection.executemany(
            "DELETE FROM tag WHERE pair = ? AND id = ?", [(pair, task_id) for pair in unpack(packed)]
        )
    # By their age, for which there is an index: a key is as old as its task.
    connection.executemany(
        "DELETE FROM idempotency WHERE created = (SELECT created FROM task WHERE id = ?1) AND id = ?1", ids
    )
    for table in ("body", "attempt", "executor_log", "event", "callback", "delivery", "task"):
        connection.executemany(f"DELETE FROM {table} WHERE id = ?", ids)
    return len(ids), rows[-1][0] if rows else None


def prune_events(connection: sqlite3.Connection, before: float) -> int:
    """Remove some events before a time, from the first on, and return how many. What stays of a task has no hole."""
    rows = connection.execute("SELECT position, time FROM event ORDER BY position LIMIT ?", (_EVENTS,)).fetchall()
    old = 0
    while old < len(rows) and rows[old][1] < before:
        old += 1
    if old:
        connection.execute("DELETE FROM event WHERE position <= ?", (rows[old - 1][0],))
    return old


def back_up(connect: Callable[[], sqlite3.Connection], path: Path) -> None:
    """Write a copy beside `path`, make it durable, and give it the name. Raises StartError."""
    path = path.absolute()
    part = path.with_name(path.name + ".part")
    connection = connect()
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection.execute("VACUUM INTO ?", (str(part),))
        for name in (part, path.parent):
            descriptor = os.open(name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        part.replace(path)
    except (sqlite3.Error, OSError) as error:
        part.unlink(missing_ok=True)
        raise StartError(f"cannot write the backup {path}: {error}") from error
    finally:
        connection.close()


def check(connect: Callable[[], sqlite3.Connection]) -> Sequence[str]:
    """Return what is wrong inside. See `Store.check`."""
    connection = connect()
    try:
        connection.execute("BEGIN")
        damage = [row[0] for row in connection.execute("PRAGMA integrity_check(100)") if row[0] != "ok"]
        return damage + complaints({query: connection.execute(query).fetchall() for query in reads.CHECKS})
    except sqlite3.DatabaseError as error:
        return [f"damaged: {error}"]
    finally:
        connection.close()
