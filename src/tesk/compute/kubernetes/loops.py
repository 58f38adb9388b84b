"""Keep a loop going that must live as long as the server. Acts."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

_AGAIN_SECONDS = 1.0
"""How long after a fault a loop begins anew."""
_log = logging.getLogger(__name__)


async def kept(loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop that never ends by itself, for ever; to be canceled. A fault of our own is told of aloud, and it begins anew."""
    while True:
        running = asyncio.ensure_future(loop())
        try:
            await asyncio.wait([running])
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        fault = None if running.cancelled() else running.exception()
        _log.critical("%s ended by a fault, and begins anew", getattr(loop, "__qualname__", loop), exc_info=fault)
        await asyncio.sleep(_AGAIN_SECONDS)
