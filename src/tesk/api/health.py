"""For whoever watches the server: does it live, is it ready, what does it do all day."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from tesk import __version__
from tesk.errors import Unavailable
from tesk.http.exchange import Exchange
from tesk.store.store import Store
from tesk.telemetry.metrics import Metrics
from tesk.tes.state import ACTIVE

_DATABASE_SECONDS = 3.0
_TEXT = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), (b"cache-control", b"no-store")]


class Health:
    """Serves `/livez`, `/readyz` and `/metrics`."""

    def __init__(self, store: Store, alive: Callable[[], bool], metrics: Metrics) -> None:
        self._store = store
        self._alive = alive
        self._metrics = metrics

    async def livez(self, exchange: Exchange) -> None:
        """The process answers; that is all."""
        await exchange.answer(200, b'{"status":"ok"}')

    async def readyz(self, exchange: Exchange) -> None:
        """Database and controller are well."""
        try:
            async with asyncio.timeout(_DATABASE_SECONDS):
                await self._store.ping()
        except (Unavailable, TimeoutError) as error:
            raise Unavailable(str(error) or "the database does not answer", retry_after_seconds=5) from error
        if not self._alive():
            raise Unavailable("the controller does not do its rounds", retry_after_seconds=5)
        await exchange.answer(200, b'{"status":"ok"}')

    async def metrics(self, exchange: Exchange) -> None:
        """Everything that was counted; also where the database is gone, but for what only it knows."""
        counts, waiting = {}, None
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_DATABASE_SECONDS):
                found = await self._store.counts()
                backlog = await self._store.outbox.backlog()
            counts = {state.value: found.get(state, 0) for state in ACTIVE}
            oldest = 0.0 if backlog.oldest is None else max(0.0, time.time() - backlog.oldest)
            waiting = {"pending": float(backlog.pending), "failed": float(backlog.failed), "oldest_seconds": oldest}
        await exchange.answer(200, self._metrics.text(counts, __version__, waiting).encode(), _TEXT)
