"""Several pieces of blocking work at once, in a bounded number of threads, until one fails or somebody says stop."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
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


_UNDER_WAY_BYTES = 4 * 1024**3
"""What moves at once is no larger than this together, unless it is one alone: a large file moves in parallel parts by itself."""


def each(
    act: Callable[[P], R],
    pieces: Sequence[P],
    *,
    threads: int,
    stop: Stop,
    keep_going: bool,
    size_bytes: Callable[[P], int] = lambda _: 0,
) -> tuple[list[R], list[TransferError]]:
    """Act on every piece, the large ones first; return what came of it and what went wrong, both in no order.

    After an error nothing new is begun, unless `keep_going`. Other exceptions than TransferError are raised.
    """
    waiting = deque(sorted(((size_bytes(piece), piece) for piece in pieces), key=lambda one: -one[0]))
    done: list[R] = []
    errors: list[TransferError] = []
    faults: list[BaseException] = []
    room = threading.Condition()
    under_way = 0

    def take() -> tuple[int, P] | None:
        nonlocal under_way
        with room:
            while waiting and not faults and (keep_going or not errors):
                # The largest that fits, else the smallest: what is large waits for room, what is small does not wait for it.
                for one in (waiting[0], waiting[-1]):
                    if not under_way or under_way + one[0] <= _UNDER_WAY_BYTES:
                        under_way += one[0]
                        return waiting.popleft() if one is waiting[0] else waiting.pop()
                room.wait()
        return None

    def give_back(size: int) -> None:
        nonlocal under_way
        with room:
            under_way -= size
            if size:
                room.notify_all()

    def work() -> None:
        while (taken := take()) is not None:
            size, piece = taken
            try:
                stop.advance(0)
                done.append(act(piece))
            except TransferError as error:
                errors.append(error)
                if stop.asked:
                    return
            finally:
                give_back(size)

    def work_beside() -> None:
        try:
            work()
        except BaseException as fault:  # noqa: BLE001  it is raised where somebody hears it
            faults.append(fault)

    # Not `concurrent.futures`: with its logging it costs a twentieth of the stager's start.
    workers = [threading.Thread(target=work_beside) for _ in range(min(threads, len(pieces)) - 1)]
    for worker in workers:
        worker.start()
    work_beside()
    for worker in workers:
        worker.join()
    if faults:
        raise faults[0]
    return done, errors
