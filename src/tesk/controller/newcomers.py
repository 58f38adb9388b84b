"""Look once at each task that begins to wait, however many wait before it: what can never fit must not wait to be told."""

import time
from collections.abc import AsyncIterator, Callable, Sequence

from tesk.store.rows import Waiting
from tesk.store.store import Store
from tesk.tes.ids import id_before

_PAGE = 1000
_EVERY_SECONDS = 1.0
_LATE_SECONDS = 1.0
"""How long a task may be on its way from its id to its commit, and yet be seen."""


class Newcomers:
    """Those that began to wait since the last look, by the time in their ids: each server looks at least at its own.

    A task is looked at about twice in all: a look costs what came in meanwhile, not what waits.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._known: float | None = None
        self._anew = False
        self._next = 0.0

    def known(self, now: float) -> None:
        """All that waited at `now` were seen elsewhere."""
        self._known = now

    def forget(self) -> None:
        """All that wait are to be looked at again."""
        self._anew = True

    def due_in(self) -> float:
        """Return how many seconds to wait before another look, so that many small ones cost no more than a large one."""
        return max(0.0, self._next - time.monotonic())

    async def pages(self) -> AsyncIterator[Sequence[Waiting]]:
        """Yield the newcomers, all that wait at the first time. Where it breaks off, the next look begins there again."""
        now = self._clock()
        self._next = time.monotonic() + _EVERY_SECONDS
        if self._anew:
            self._known, self._anew = None, False
        after = None if self._known is None else id_before(self._known - _LATE_SECONDS)
        while True:
            rows = await self._store.waiting(limit=_PAGE, after=after, now=now)
            yield rows
            if len(rows) < _PAGE:
                break
            after = rows[-1].id
        self._known = now
