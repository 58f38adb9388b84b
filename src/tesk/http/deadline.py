"""A limit to how long something may take, for thousands at once: one timer looks after all of them."""

import asyncio
from types import TracebackType
from typing import Any, Protocol

_LOOK_SECONDS = 0.25
"""How late the end of a time may be noticed."""


class Limited(Protocol):
    """What is looked after: at `end`, by the loop's clock, it is told that its time is over."""

    end: float

    def expire(self) -> None:
        """End it."""


class Deadlines:
    """Makes limits. `asyncio.timeout` is exact, and sets and cancels a timer each time, which costs as much as a decode."""

    def __init__(self) -> None:
        self._running: set[Limited] = set()
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> "_Deadline":
        """Return what raises TimeoutError in the block that it is around, when that takes longer."""
        return _Deadline(self, seconds)

    def start(self, deadline: Limited) -> float:
        """Look after one more; return the time of the loop."""
        self._running.add(deadline)
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._timer = loop.call_later(_LOOK_SECONDS, self._look)
        return loop.time()

    def stop(self, deadline: Limited) -> None:
        """Look after it no longer."""
        self._running.discard(deadline)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for deadline in [each for each in self._running if each.end < now]:
            self._running.discard(deadline)
            deadline.expire()
        self._timer = loop.call_later(_LOOK_SECONDS, self._look) if self._running else None


class _Deadline:
    __slots__ = ("_all", "_late", "_seconds", "_task", "end")

    def __init__(self, all_: Deadlines, seconds: float) -> None:
        self._all = all_
        self._seconds = seconds
        self._task: asyncio.Task[Any] | None = None
        self._late = False
        self.end = 0.0

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self.end = self._all.start(self) + self._seconds

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._all.stop(self)
        if self._late and self._task is not None and self._task.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancel what takes too long."""
        if self._task is not None:
            self._late = True
            self._task.cancel()
