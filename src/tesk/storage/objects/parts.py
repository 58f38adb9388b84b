"""One large object in parts: several threads take them, the first failure stops all, and what is missing is known."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

_LOOK_SECONDS = 0.25
_BETTER = 1.1


class Part(NamedTuple):
    """Bytes from `begin` (included) to `end` (not included); `number` counts from 1."""

    number: int
    begin: int
    end: int


class Stopped(Exception):  # noqa: N818  a word between threads, no error that anybody sees
    """Another part failed."""


class Parts:
    """The parts that are still to be moved. Whoever takes one gives back what is left of it when that fails."""

    def __init__(self, size_bytes: int, part_bytes: int) -> None:
        begins = range(0, size_bytes, part_bytes)
        self.waiting = deque(
            Part(number, begin, min(begin + part_bytes, size_bytes)) for number, begin in enumerate(begins, 1)
        )
        self._lock = threading.Lock()
        self._failed = False
        self._growing = False
        self._bytes, self._since, self._rate = 0, 0.0, 0.0
        self._take_on: Callable[[], bool] = bool

    def take_at(self, begin: int) -> Part | None:
        """Take the part that begins here, if it still waits: for who reads from the start."""
        with self._lock:
            return self.waiting.popleft() if self.waiting and self.waiting[0].begin == begin else None

    def give_back(self, part: Part) -> None:
        """Have a part wait again, or what is left of it."""
        if part.begin < part.end:
            with self._lock:
                self.waiting.append(part)

    def moved(self, size_bytes: int) -> None:
        """Hear of bytes that moved, or are to be moved again. Raises Stopped where another part failed.

        Another thread is taken on for as long as each one more made it quicker: what a network of the cloud wants in
        eight pieces at once, a server on a machine of two cores sends best in one or two.
        """
        if self._failed:
            raise Stopped
        with self._lock:
            self._bytes += size_bytes
            seconds = time.monotonic() - self._since
            if not self._growing or seconds < _LOOK_SECONDS:
                return
            rate, before = self._bytes / seconds, self._rate
            self._bytes, self._since, self._rate = 0, time.monotonic(), rate
            self._growing = rate > before * _BETTER and self._take_on()

    def move(
        self, act: Callable[[Part], None], helpers: threading.Semaphore, first: Callable[[], None] | None = None
    ) -> None:
        """Act on all that waits, in this thread and some more, as long as there are `helpers` free. Raises what failed first.

        `first` is what this thread does before it takes parts like the others.
        """
        self._failed = False
        if len(self.waiting) < 2:
            self._growing = False
            self._work(act, first)
            return
        errors: list[BaseException] = []
        others: list[threading.Thread] = []

        def work_beside() -> None:
            try:
                self._work(act)
            except BaseException as error:  # noqa: BLE001  it is raised below, where somebody hears it
                errors.append(error)
            finally:
                helpers.release()

        def take_on() -> bool:
            if not self.waiting or not helpers.acquire(blocking=False):
                return False
            others.append(threading.Thread(target=work_beside, name="part"))
            others[-1].start()
            return True

        self._take_on = take_on
        self._bytes, self._since, self._rate = 0, time.monotonic(), 0.0
        self._growing = True
        try:
            with contextlib.suppress(Stopped):
                self._work(act, first)
        finally:
            with self._lock:
                self._growing = False
            # Not `concurrent.futures`: with its logging it costs a twentieth of the stager's start.
            for other in others:
                other.join()
        for error in errors:
            if not isinstance(error, Stopped):
                raise error

    def _work(self, act: Callable[[Part], None], first: Callable[[], None] | None = None) -> None:
        fine = False
        try:
            if first is not None:
                first()
            while not self._failed and (part := self._take()) is not None:
                act(part)
            fine = True
        finally:
            self._failed = self._failed or not fine

    def _take(self) -> Part | None:
        with self._lock:
            return self.waiting.pop() if self.waiting else None
