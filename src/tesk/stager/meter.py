"""What moves is counted: against the most that a task may move, and for who wants to hear how far it is."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tesk.stager.parallel import Stop
from tesk.stager.report import TooMuch
from tesk.tes.amounts import amount
from tesk.transfer import Direction, Progress, Told

_EVERY_SECONDS = 1.0
_WINDOW = 5  # so many of them make the rate


class OneMoves:
    """One file under way: `advance` is its Advance. `size_bytes` None: its source has not said."""

    def __init__(self, meter: "Meter", size_bytes: int | None, arrived: Callable[[], int] | None) -> None:
        self._meter = meter
        self._size_bytes = size_bytes
        self._arrived = arrived
        self._counted = 0

    def advance(self, size_bytes: int) -> None:
        """Count bytes. Raises when they are not wanted any more, or are too many."""
        self._counted += size_bytes
        self._meter.moved(size_bytes)

    def done(self, size_bytes: int) -> None:
        """Say that it is there, with this size. Raises TooMuch where all are too many bytes by now."""
        self._meter.finished(self, size_bytes)

    @property
    def done_bytes(self) -> int:
        """So much of it is there, as far as the scheme says."""
        return self._counted if self._size_bytes is None else min(self._counted, self._size_bytes)

    @property
    def really_bytes(self) -> int:
        """No more than this is there, whatever was counted twice after a broken line, and whatever size a source had said."""
        return self.done_bytes if self._arrived is None else min(self._counted, self._arrived())


class Meter:
    """Counts all files of one transfer. Safe from many threads.

    `limit_bytes` is the most that may move, 0: no limit; errors name its setting.
    """

    def __init__(self, direction: Direction, stop: Stop, *, limit_bytes: int) -> None:
        self._direction = direction
        self._stop = stop
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._under_way: set[OneMoves] = set()
        self._files = self._files_done = self._files_bytes = 0
        self._size_bytes: int | None = 0
        self._counted = 0
        self._began = time.monotonic()

    def expect(self, sizes: list[int | None]) -> None:
        """Hear of all files before the first one moves. Raises TooMuch where they are too many bytes."""
        known = sum(size for size in sizes if size is not None)
        self._files = len(sizes)
        self._size_bytes = None if None in sizes else known
        if self._limit_bytes and known > self._limit_bytes:
            raise self._too_much(f"{amount(known)}, ")

    @contextmanager
    def one(self, size_bytes: int | None, arrived: Callable[[], int] | None = None) -> Iterator[OneMoves]:
        """Count one file within the block; `arrived` says how large it is now, where it comes in."""
        one = OneMoves(self, size_bytes, arrived)
        with self._lock:
            self._under_way.add(one)
        try:
            yield one
        finally:
            with self._lock:
                self._under_way.discard(one)

    def finished(self, one: OneMoves, size_bytes: int) -> None:
        """Hear that one file has moved."""
        with self._lock:
            self._under_way.discard(one)
            self._files_done += 1
            self._files_bytes += size_bytes
        self._check()

    def moved(self, size_bytes: int) -> None:
        """Hear of bytes of a file that is under way."""
        self._stop.advance(size_bytes)
        self._counted += size_bytes  # for the rate alone: a count lost between threads is no harm
        self._check()

    @contextmanager
    def telling(self, told: Told | None, trouble: Callable[[], str | None] = lambda: None) -> Iterator[None]:
        """Tell once a second within the block, from a thread of its own, and what the `trouble` is."""
        if told is None:
            yield
            return
        over = threading.Event()
        teller = threading.Thread(target=self._tell, args=(told, over, trouble), daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()

    def _tell(self, told: Told, over: threading.Event, trouble: Callable[[], str | None]) -> None:
        past: deque[tuple[float, int]] = deque([(time.monotonic(), self._counted)], maxlen=_WINDOW + 1)
        while not over.wait(_EVERY_SECONDS):
            says = trouble()
            if not self._files and says is None:
                continue  # nobody knows yet what there is
            now, counted = time.monotonic(), self._counted
            past.append((now, counted))
            then, before = past[0]
            with self._lock:
                done = self._files_bytes + sum(one.done_bytes for one in self._under_way)
            told(
                Progress(
                    direction=self._direction,
                    files=self._files,
                    files_done=self._files_done,
                    size_bytes=self._size_bytes,
                    size_bytes_done=done,
                    bytes_per_second=max(0.0, round((counted - before) / (now - then), 1)),
                    seconds=round(now - self._began, 3),
                    trouble=says,
                )
            )

    def _check(self) -> None:
        if self._limit_bytes:
            with self._lock:
                beyond = self._files_bytes + sum(one.really_bytes for one in self._under_way) > self._limit_bytes
            if beyond:
                raise self._too_much("")

    def _too_much(self, how_much: str) -> TooMuch:
        way = "bring in" if self._direction == "inputs" else "take out"
        return TooMuch(
            f"the {self._direction} are {how_much}more than the {amount(self._limit_bytes)} that one task may {way} "
            f"(setting storage.{self._direction[:-1]}_bytes_limit)"
        )
