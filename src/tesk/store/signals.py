"""Wake those who wait inside this process: for one task to change, or for work."""

import asyncio
from collections.abc import Iterable


class Signals:
    """Lives in one event loop. A wake-up says only that a look is worth while."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._work = asyncio.Event()

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
        for task_id in task_ids:
            for future in self._waiting.get(task_id, ()):
                if not future.done():
                    future.set_result(None)

    def all_changed(self) -> None:
        """Wake everybody: something may have been missed."""
        self.changed(list(self._waiting))
        self.work()

    def work(self) -> None:
        """Wake who waits for work, or who does so next."""
        self._work.set()

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """Return when there may be work, at once if that was said since the last return, or at the timeout."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._work.wait()
        except TimeoutError:
            return
        self._work.clear()
