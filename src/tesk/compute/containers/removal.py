"""Remove containers that have ended, a while later and many in one call of the engine: each call costs a process.

Nobody waits for it. What is not removed when the server dies is found by its labels when the next one starts.
"""

import asyncio
import contextlib
import logging

from tesk.compute.containers.engine import Engine
from tesk.errors import BackendUnavailable

_LATER_SECONDS = 2.0
_AGAIN_SECONDS = 30.0
_CLOSE_SECONDS = 15.0

_log = logging.getLogger(__name__)


class Removal:
    """Runs between `open` and `close`, which waits for the engine for `close_seconds` at most."""

    def __init__(self, engine: Engine, *, close_seconds: float = _CLOSE_SECONDS) -> None:
        self._engine = engine
        self._close_seconds = close_seconds
        self._wanted: list[str] = []
        self._some = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Remove what is left at once, as far as the engine does it soon: the next server finds the rest."""
        self._closing.set()
        self._some.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self._close_seconds)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def later(self, name: str) -> None:
        """Have a container removed, some time."""
        self._wanted.append(name)
        self._some.set()

    async def _run(self) -> None:
        while await self._some.wait():
            await self._closing_within(_LATER_SECONDS)
            self._some.clear()
            wanted, self._wanted = self._wanted, []
            try:
                await self._engine.remove(wanted)
            except BackendUnavailable as error:
                _log.warning("%s; will try again", error)
                if not self._closing.is_set():
                    self._wanted += wanted
                    self._some.set()
                    await self._closing_within(_AGAIN_SECONDS)
            if self._closing.is_set() and not self._some.is_set():
                return

    async def _closing_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)
