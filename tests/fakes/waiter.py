"""Somebody who waits at a listener that comes and goes: every move as it is told, over as many connections as it takes."""

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tesk.listener import Remote
from tesk.tes.told import Told


class Waiter:
    """Follows everything from the beginning in a thread of its own. `told` are the moves of each task in the order in which they came."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._grown = threading.Condition()
        self.told: dict[str, list[Told]] = defaultdict(list)

    def wait(self, moves: dict[str, int], seconds: float) -> None:
        """Wait until the move of this number was told of each task."""

        def left() -> list[str]:
            return [each for each, last in moves.items() if not self.told[each] or self.told[each][-1].sequence < last]

        with self._grown:
            assert self._grown.wait_for(lambda: not left(), seconds), f"not told in time of {left()}"

    def assert_once_and_in_order(self, task_ids: Iterable[str]) -> None:
        """Fail unless each move of a task was told once, behind those before it."""
        for task_id in task_ids:
            sequences = [told.sequence for told in self.told[task_id]]
            assert sequences == sorted(set(sequences)), task_id

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._follow())

    async def _follow(self) -> None:
        async with Remote(self._url) as remote, contextlib.aclosing(remote.moves(after="0")) as moves:
            async for told in moves:
                with self._grown:
                    self.told[told.id].append(told)
                    self._grown.notify_all()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(lambda: [each.cancel() for each in asyncio.all_tasks(self._loop)])
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._loop.close()


@contextlib.contextmanager
def waiting(url: str) -> Iterator[Waiter]:
    """Yield one who waits for as long as the block."""
    waiter = Waiter(url)
    waiter.start()
    try:
        yield waiter
    finally:
        waiter.stop()
