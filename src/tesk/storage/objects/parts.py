"""One large object in parts: several threads take them, the first failure stops all, and what is missing is known."""

import contextlib
import ipaddress
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

_NEAR = 1
_FAR = 32
_PARTS_MAX = 10_000
"""S3 takes no more of an upload; and each costs memory, however large an object its server makes up."""


def lines(line: socket.socket) -> int:
    """Return how many connections like this one bring a large object quickest, if there may be so many.

    A server on this machine shares its processors, and one connection keeps it busy; more cost SeaweedFS twice the work.
    """
    peer = str(line.getpeername()[0])
    return _NEAR if ipaddress.ip_address(peer.partition("%")[0]).is_loopback else _FAR


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
        part_bytes = max(part_bytes, -(-size_bytes // _PARTS_MAX))
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
        self,
        act: Callable[[Part], None],
        helpers: threading.Semaphore,
        *,
        most: int,
        first: Callable[[], None] | None = None,
    ) -> None:
        """Act on all that waits, over at most so many threads, and no more than there are `helpers` free beside this one.

        Raises what failed first. `first` is what this thread does before it takes parts like the others.
        """
        self._failed = False
        errors: list[BaseException] = []
        others: list[threading.Thread] = []

        def work_beside() -> None:
            try:
                self._work(act)
            except BaseException as error:  # noqa: BLE001  it is raised below, where somebody hears it
                errors.append(error)
            finally:
                helpers.release()

        # Not `concurrent.futures`: with its logging it costs a twentieth of the stager's start.
        while len(others) < min(most, len(self.waiting)) - 1 and helpers.acquire(blocking=False):
            others.append(threading.Thread(target=work_beside, name="part"))
        for other in others:
            other.start()
        try:
            with contextlib.suppress(Stopped):
                self._work(act, first)
        finally:
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
