"""Wake those who wait inside this process: for one task to change, or for work."""

import asyncio
from collections.abc import Iterable

_SOON_SECONDS = 0.25
"""A task of a few milliseconds is INITIALIZING, RUNNING and at its end by then: each answer would cost as much as a state."""


class Signals:
    """Lives in one event loop. A wake-up says only that a look is worth while."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._work = asyncio.Event()
        self._cancels = False
        self._to_tell = asyncio.Event()
        self._news = asyncio.Event()

    def expect(self, task_id: str) -> asyncio.Future[None]:
        """Return a future that is done at the next change of the task from now on. Give it back with `dismiss`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(task_id, set()).add(future)
        return future

    def dismiss(self, task_id: str, future: asyncio.Future[None]) -> None:
        """Wait no longer."""
        futures = self._waiting.get(task_id)
        if futures is not None:
            futures.discard(future)
            if not futures:
                del self._waiting[task_id]

    def changed(self, task_ids: Iterable[str]) -> None:
        """Wake those who wait for these tasks."""
        self._news.set()
        for task_id in task_ids:
            for future in self._waiting.get(task_id, ()):
                if not future.done():
                    future.set_result(None)

    def changed_soon(self, task_ids: Iterable[str]) -> None:
        """Wake those who wait for these tasks in a moment, in which they may go on: one answer then tells of both."""
        self._news.set()
        for task_id in task_ids:
            if task_id in self._waiting:
                asyncio.get_running_loop().call_later(_SOON_SECONDS, self.changed, (task_id,))

    def all_changed(self) -> None:
        """Wake everybody: something may have been missed."""
        self.changed(list(self._waiting))
        self.work(cancels=True)
        self.tell()

    def work(self, *, cancels: bool = False) -> None:
        """Wake who waits for work, or who does so next; with `cancels` there may be something to cancel."""
        self._cancels |= cancels
        self._work.set()
        self._news.set()

    async def wait_for_work(self, timeout_seconds: float) -> bool:
        """Return when there may be work, at once if that was said since the last return, or at the timeout.

        Says whether there may be something to cancel.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._work.wait()
        except TimeoutError:
            return True
        self._work.clear()
        cancels, self._cancels = self._cancels, False
        return cancels

    def tell(self) -> None:
        """Wake who sends what is to be told, or who does so next."""
        self._to_tell.set()

    async def wait_to_tell(self, timeout_seconds: float) -> None:
        """Return when there may be something to send, at once if that was said since the last return, or at the timeout."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._to_tell.wait()
        except TimeoutError:
            return
        self._to_tell.clear()

    async def wait_for_news(self, timeout_seconds: float) -> None:
        """Return when some task may have moved, at once if that was said since the last return, or at the timeout."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()
