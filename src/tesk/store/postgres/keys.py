"""What is kept under an Idempotency-Key, within an open transaction."""

from collections.abc import Sequence

from asyncpg import Connection

from tesk.store.idempotency import KEY_SECONDS
from tesk.store.postgres import statements
from tesk.store.postgres.database import fetch
from tesk.store.sql import Parameters


async def keep(
    connection: Connection, keyed: Sequence[tuple[str, str, bytes, str, float]]
) -> dict[tuple[str, str], tuple[bytes, str]]:
    """Keep ids under keys: (owner, key, hash, id, time) in the order of keys. Return what was kept under them before."""
    owners, keys, hashes, ids, created = map(list, zip(*keyed, strict=True))
    names: Parameters = {"owners": owners, "keys": keys}
    parameters: Parameters = {**names, "hashes": hashes, "ids": ids, "created": created, "day": KEY_SECONDS}
    fresh = {row[0] for row in await fetch(connection, statements.KEYS, parameters)}
    # Each new key takes a few old ones away, so the table stays a day long.
    oldest = min(created) - KEY_SECONDS
    await fetch(connection, statements.OLD_KEYS, {"before": oldest, "limit": 4 * len(keyed)})
    if len(fresh) == len(keyed):
        return {}
    rows = await fetch(connection, statements.KNOWN_KEYS, names)
    return {(owner, key): (body_hash, task_id) for owner, key, body_hash, task_id in rows if task_id not in fresh}
