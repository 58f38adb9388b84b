"""One large object in parts: several threads take them, the first failure stops all, and what is missing is known."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple


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

    def take_at(self, begin: int) -> Part | None:
        """Take the part that begins here, if it still waits: for who reads from the start."""
        with self._lock:
            return self.waiting.popleft() if self.waiting and self.waiting[0].begin == begin else None

    def give_back(self, part: Part) -> None:
        """Have a part wait again, or what is left of it."""
        if part.begin < part.end:
            with self._lock:
                self.waiting.append(part)

    def check(self) -> None:
        """Raise Stopped where another part failed."""
        if self._failed:
            raise Stopped

    def move(
        self, act: Callable[[Part], None], helpers: threading.Semaphore, first: Callable[[], None] | None = None
    ) -> None:
        """Act on all that waits, in this thread and in as many more as there are `helpers` free. Raises what failed first.

        `first` is what this thread does before it takes parts like the others.
        """
        self._failed = False

        def work() -> None:
            with self._stopping_all():
                while not self._failed and (part := self._take()) is not None:
                    act(part)

        def begin() -> None:
            with self._stopping_all():
                if first is not None:
                    first()
            work()

        with contextlib.ExitStack() as taken:
            number = 0
            while number < len(self.waiting) - 1 and helpers.acquire(blocking=False):
                taken.callback(helpers.release)
                number += 1
            if not number:
                begin()
                return
            with ThreadPoolExecutor(number, thread_name_prefix="parts") as pool:
                others = [pool.submit(work) for _ in range(number)]
                with contextlib.suppress(Stopped):
                    begin()
            for other in others:
                with contextlib.suppress(Stopped):
                    other.result()

    @contextlib.contextmanager
    def _stopping_all(self) -> Iterator[None]:
        fine = False
        try:
            yield
            fine = True
        finally:
            self._failed = self._failed or not fine

    def _take(self) -> Part | None:
        with self._lock:
            return self.waiting.pop() if self.waiting else None
