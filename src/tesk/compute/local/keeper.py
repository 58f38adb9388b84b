"""One thread, as long-lived as the server, that starts host programs, hears of their ends and drains their streams.

The signal that a program gets when its parent dies follows the thread that started it, so that thread must not end
before the server does. It is also the place where gigabytes of output pass by without the server's loop noticing.
"""

import asyncio
import collections
import contextlib
import functools
import logging
import os
import select
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Keeper:
    """Runs short functions and watches descriptors, all in one thread. `settle` is called in it first."""

    def __init__(self, settle: Callable[[], None] = lambda: None, *, name: str = "keeper") -> None:
        self._settle = settle
        self._name = name
        self._jobs: collections.deque[Callable[[], None]] = collections.deque()
        self._watched: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._watched[self._wake] = self._work
        self._epoll.register(self._wake, select.EPOLLIN)
        self._open = True
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Start the thread. Raises what `settle` raises."""
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[None] = loop.create_future()
        # A daemon: a server that is told to end at once does not wait for it, and its programs die with it.
        self._thread = threading.Thread(target=self._run, args=(loop, settled), name=self._name, daemon=True)
        self._thread.start()
        try:
            await settled
        except BaseException:
            self._release()
            raise

    async def close(self) -> None:
        """End the thread; what it started and still runs is killed by the kernel."""
        if self._thread is not None and self._thread.is_alive():

            def end() -> None:
                self._open = False

            self.post(end)
            await asyncio.to_thread(self._thread.join)
            self._release()

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function in the thread and return what it returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def answer() -> None:
            _answer(loop, result, function)

        self.post(answer)
        return await result

    def post(self, job: Callable[[], None]) -> None:
        """Have a function run in the thread, soon. It must not raise."""
        if self._thread is None:
            raise RuntimeError("the keeper is closed")
        self._jobs.append(job)
        os.eventfd_write(self._wake, 1)

    def watch(self, fd: int, ready: Callable[[], None]) -> None:
        """Call `ready` whenever there is something to read from `fd`, or its other side is gone. In the thread only."""
        self._watched[fd] = ready
        self._epoll.register(fd, select.EPOLLIN)

    def close_watched(self, fd: int) -> None:
        """Stop watching `fd` and close it. In the thread only."""
        del self._watched[fd]
        self._epoll.unregister(fd)
        os.close(fd)

    def _run(self, loop: asyncio.AbstractEventLoop, settled: asyncio.Future[None]) -> None:
        if not _answer(loop, settled, self._settle):
            return
        while self._open:
            # What is done for one may close the next, and its number be another's already: then it is somebody else's.
            for fd, ready in [(fd, self._watched[fd]) for fd, _ in self._epoll.poll()]:
                try:
                    if self._watched.get(fd) is ready:
                        ready()
                except Exception:  # noqa: BLE001  the loop that must live: all programs end with this thread
                    _log.exception("A program could not be looked after.")

    def _work(self) -> None:
        os.eventfd_read(self._wake)
        while self._jobs:
            self._jobs.popleft()()

    def _release(self) -> None:
        self._epoll.close()
        os.close(self._wake)
        self._thread = None


def _answer(loop: asyncio.AbstractEventLoop, result: asyncio.Future[T], function: Callable[[], T]) -> bool:
    """Settle a future of the loop from another thread; say whether the function returned."""
    try:
        value = function()
    except Exception as error:  # noqa: BLE001  whatever it is, it is raised where it was asked for
        settle: Callable[[], None] = functools.partial(result.set_exception, error)
        fine = False
    else:
        settle = functools.partial(result.set_result, value)
        fine = True

    def settle_unless_canceled() -> None:
        if not result.done():
            settle()

    # A loop that was closed meanwhile has nobody left who waits.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(settle_unless_canceled)
    return fine
