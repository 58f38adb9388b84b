"""Ids of tasks: 26 lower-case letters and digits that sort by age and are valid Kubernetes names."""

import io
import os
import re
import threading

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
"""Letters of an id."""
_STOCK_BYTES = 4096
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_ID = re.compile(rf"[{_ALPHABET}]{{{LENGTH}}}\Z")


def is_id(text: str) -> bool:
    """Say whether `text` could be an id that `Ids` made."""
    return _ID.match(text) is not None


def made_at(task_id: str) -> float:
    """Return when an id was made, in seconds since the epoch."""
    return _decode(task_id[:10]) / 1000


def id_before(seconds: float) -> str:
    """Return what sorts before every id that was made at a time (seconds since the epoch) or later."""
    return _encode(max(0, int(seconds * 1000)) << 80)


def following(task_id: str, count: int) -> list[str]:
    """Return the ids right after one, in order."""
    first = _decode(task_id) + 1
    last = first + count
    found: list[str] = []
    # A thousand of them have all letters alike but for the last two.
    for start in range(first & ~1023, last, 1024):
        head = _encode(start)[:-2]
        found += [head + pair for pair in _PAIRS[max(first - start, 0) : last - start]]
    return found


class Ids:
    """Makes ids: 48 bits of milliseconds, then 80 bits at random that count up within a millisecond.

    An id is greater than every earlier one of this maker and than `newest`, also when the clock is set back.
    """

    def __init__(self, newest: str | None = None) -> None:
        self._last = _decode(newest) if newest is not None and is_id(newest) else 0
        self._lock = threading.Lock()
        self._random = io.BytesIO()

    def make(self, now: float) -> str:
        """Return a new id for `now`, in seconds since the epoch."""
        with self._lock:
            self._advance(now)
            return _encode(self._last)

    def reserve(self, now: float, count: int) -> str:
        """Return a new id whose `following` ones, so many, nobody else is given."""
        with self._lock:
            self._advance(now)
            first, self._last = self._last, self._last + count
            return _encode(first)

    def _advance(self, now: float) -> None:
        # The top random bit stays clear, so that counting up within one millisecond has room.
        milliseconds = int(now * 1000)
        if milliseconds > self._last >> 80:
            self._last = milliseconds << 80 | self._random_number(10) >> 1
        else:
            self._last += 1 + self._random_number(4)

    def _random_number(self, size: int) -> int:
        """Return so many bytes at random. The kernel is asked for many at once: one question costs as much as an id."""
        found = self._random.read(size)
        if len(found) < size:
            self._random = io.BytesIO(os.urandom(_STOCK_BYTES))
            found = self._random.read(size)
        return int.from_bytes(found, "big")


def _encode(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def _decode(text: str) -> int:
    number = 0
    for letter in text:
        number = number << 5 | _ALPHABET.index(letter)
    return number
