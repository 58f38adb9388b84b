"""The databases that the store's contract is tried on, with a way round the store for each."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import asyncpg

from tesk.store.connect import store_at

BOUND_SECONDS = 60


def is_postgres(database: str) -> bool:
    return database.startswith("postgresql://")


@asynccontextmanager
async def opened(database: str, **options):
    """Open a store for the block."""
    store = store_at(database, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def play(database: str, story: Callable[[Any], Awaitable[Any]], **options) -> Any:
    """Run a story with an open store, and say what it says."""

    async def whole():
        async with asyncio.timeout(BOUND_SECONDS), opened(database, **options) as store:
            return await story(store)

    return asyncio.run(whole())


def raw(database: str, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement behind the store's back."""
    if not is_postgres(database):
        with closing(sqlite3.connect(database)) as connection, connection:
            return connection.execute(statement).fetchall()

    async def whole():
        connection = await asyncpg.connect(database, server_settings={"search_path": "tesk"})
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(whole())
