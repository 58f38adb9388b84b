"""Several pieces of blocking work at once, in a bounded number of threads, until one fails or somebody says stop."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tesk.errors import TransferError, TransferFailed

P = TypeVar("P")
R = TypeVar("R")


class Stop:
    """Says, once and for good, that the work is no longer wanted."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Stop all who look at this."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Say whether somebody asked."""
        return self._asked.is_set()

    def advance(self, size_bytes: int) -> None:  # noqa: ARG002  an Advance is told of bytes
        """Be an `Advance` for a transfer: raises when it is to stop."""
        if self._asked.is_set():
            raise TransferFailed("stopped: the transfer is no longer wanted")


def each(
    act: Callable[[P], R], pieces: Sequence[P], *, threads: int, stop: Stop, keep_going: bool
) -> tuple[list[R], list[TransferError]]:
    """Act on every piece; return what came of it and what went wrong, both in no order.

    After an error nothing new is begun, unless `keep_going`. Other exceptions than TransferError are raised.
    """
    waiting: queue.SimpleQueue[P] = queue.SimpleQueue()
    for piece in pieces:
        waiting.put(piece)
    done: list[R] = []
    errors: list[TransferError] = []

    def work() -> None:
        while keep_going or not errors:
            try:
                piece = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                stop.advance(0)
                done.append(act(piece))
            except TransferError as error:
                errors.append(error)
                if stop.asked:
                    return

    if min(threads, len(pieces)) <= 1:
        work()
    else:
        with ThreadPoolExecutor(min(threads, len(pieces))) as pool:
            for worker in [pool.submit(work) for _ in range(min(threads, len(pieces)))]:
                worker.result()
    return done, errors
