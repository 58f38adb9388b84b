"""Several streams as one, piece by piece as they come."""

import asyncio
from collections.abc import AsyncIterator

from tesk.compute.backend import Piece


async def combined(*streams: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    """Yield the pieces of all streams until each has ended. What one of them raises is raised."""
    pieces: asyncio.Queue[Piece] = asyncio.Queue(1)

    async def read(stream: AsyncIterator[Piece]) -> None:
        async for piece in stream:
            await pieces.put(piece)

    async def read_all() -> None:
        async with asyncio.TaskGroup() as reading:
            for stream in streams:
                reading.create_task(read(stream))

    over = asyncio.create_task(read_all())
    try:
        while not (over.done() and pieces.empty()):
            getting = asyncio.create_task(pieces.get())
            try:
                await asyncio.wait((getting, over), return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    yield getting.result()
            finally:
                getting.cancel()
        await over
    finally:
        over.cancel()
