"""From the setting `database` to a store."""

import importlib
from collections.abc import Callable
from pathlib import Path

from tesk.errors import StartError
from tesk.store.sqlite.store import SqliteStore
from tesk.store.store import Store


def store_at(
    database: str,
    *,
    pending_limit: int = 2000,
    pending_bytes: int = 256 * 1024 * 1024,
    exclusive: bool = True,
    committed: Callable[[int], None] = lambda _: None,
) -> Store:
    """Return the store at a path (SQLite) or a `postgresql://` URL, not yet open. Raises StartError.

    `pending_limit`, `pending_bytes`: how many submissions may wait for the database; more are refused as Overloaded.
    `exclusive`: for a server. Without it a tool works beside one: it prunes, backs up and checks, and migrates nothing.
    `committed` is told of the size of each batch that shared a commit, from any thread.
    """
    if not database.startswith(("postgresql://", "postgres://")):
        if "://" in database:
            raise StartError(
                f"no database like {database.split('://', maxsplit=1)[0]}:// is known: give a path or a postgresql:// URL"
            )
        return SqliteStore(
            Path(database),
            pending_limit=pending_limit,
            pending_bytes=pending_bytes,
            exclusive=exclusive,
            committed=committed,
        )
    try:
        postgres = importlib.import_module("tesk.store.postgres.store")
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise StartError("PostgreSQL wants one package more: pip install 'tesk[postgres]'") from error
    store: Store = postgres.PostgresStore(
        database,
        pending_limit=pending_limit,
        pending_bytes=pending_bytes,
        exclusive=exclusive,
        committed=committed,
    )
    return store
