"""Prune, back up and check a database, each while it is in use."""

import asyncio
import os
from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from tesk.errors import StartError
from tesk.store import reads
from tesk.store.pairs import unpack
from tesk.store.postgres.database import Database, fetch
from tesk.store.report import complaints
from tesk.store.sql import Parameters

_TASKS = 200
_EVENTS = 2000
"""How much one transaction removes."""

_OLD_TASKS = """
    SELECT t.id, coalesce(t.ended < :before, false), b.pairs FROM task t JOIN body b ON b.id = t.id
    WHERE t.id > :after AND t.created < :before ORDER BY t.id LIMIT :limit
"""
_UNTAG = "DELETE FROM tag t USING unnest(:pairs::bigint[], :tagged::text[]) u(pair, id) WHERE t.pair = u.pair AND t.id = u.id"
# By their age, for which there is an index: a key is as old as its task. In the order in which those who create tasks lock them.
_FORGET_KEYS = """
    DELETE FROM idempotency WHERE (owner, key) IN (
        SELECT k.owner, k.key FROM task t JOIN idempotency k ON k.created = t.created AND k.id = t.id
        WHERE t.id = ANY(:ids::text[]) ORDER BY k.owner, k.key FOR UPDATE OF k
    )
"""
_OLD_EVENTS = "SELECT position, time FROM event ORDER BY position LIMIT :limit"
_DROP_EVENTS = "DELETE FROM event WHERE position <= :position"


async def prune_tasks(database: Database, ended_before: float) -> int:
    """Remove tasks that ended before a time, oldest first, and return how many."""
    removed, after = 0, ""
    while True:
        rows = await database.rows(_OLD_TASKS, {"before": ended_before, "after": after, "limit": _TASKS})
        if not rows:
            return removed
        after = rows[-1][0]
        old = [(task_id, unpack(pairs)) for task_id, ended, pairs in rows if ended]
        async with database.transaction() as connection:
            tags = [(pair, task_id) for task_id, own in old for pair in own]
            await fetch(connection, _UNTAG, {"pairs": [pair for pair, _ in tags], "tagged": [of for _, of in tags]})
            ids: Parameters = {"ids": [of for of, _ in old]}
            await fetch(connection, _FORGET_KEYS, ids)
            for table in ("body", "attempt", "executor_log", "event", "callback", "delivery", "task"):
                await fetch(connection, f"DELETE FROM {table} WHERE id = ANY(:ids::text[])", ids)
        removed += len(old)


async def prune_events(database: Database, before: float) -> int:
    """Remove events before a time, from the first on, and return how many. What stays of a task has no hole."""
    removed = 0
    while True:
        rows = await database.rows(_OLD_EVENTS, {"limit": _EVENTS})
        old = 0
        while old < len(rows) and rows[old][1] < before:
            old += 1
        if not old:
            return removed
        await database.rows(_DROP_EVENTS, {"position": rows[old - 1][0]})
        removed += old


async def check(database: Database) -> Sequence[str]:
    """Return what is wrong inside. See `Store.check`."""
    async with database.transaction() as connection:
        # These look at everything: let the planner do as it likes.
        await connection.execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL enable_seqscan = on; "
            "SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL enable_bitmapscan = on"
        )
        return complaints({query: await fetch(connection, query, {}) for query in reads.CHECKS})


async def back_up(url: str, path: str) -> None:
    """Write a copy with `pg_dump`, for `pg_restore`. Raises StartError with a sentence where it cannot."""
    address, password = _without_password(url)
    environment = {**os.environ, **({} if password is None else {"PGPASSWORD": password})}
    try:
        # The password goes by the environment: everybody can read another's arguments.
        dump = await asyncio.create_subprocess_exec(
            "pg_dump", "--format=custom", "--schema=tesk", "--no-owner", f"--file={path}.part", address,
            env=environment, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise StartError(
            "pg_dump is not installed here (Debian: postgresql-client). Install it, or back the database up on its own server."
        ) from error
    _, said = await dump.communicate()
    if dump.returncode:
        raise StartError(f"cannot write the backup {path}: {said.decode(errors='replace').strip()}")
    await asyncio.to_thread(os.replace, f"{path}.part", path)


def _without_password(url: str) -> tuple[str, str | None]:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    password = query.pop("password", None)
    user, _, host = parts.netloc.rpartition("@")
    name, colon, inline = user.partition(":")
    if colon:
        password = unquote(inline)
        user = name
    # By hand: `urlunsplit` drops the `//` where the host is left to the query, as for a socket.
    address = f"{parts.scheme}://{f'{user}@' if user else ''}{host}{parts.path}"
    return f"{address}?{urlencode(query)}" if query else address, password
