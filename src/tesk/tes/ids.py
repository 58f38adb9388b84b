"""Ids of tasks: 26 lower-case letters and digits that sort by age and are valid Kubernetes names."""

import re
import secrets
import threading

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(rf"[{_ALPHABET}]{{26}}\Z")


def is_id(text: str) -> bool:
    """Say whether `text` could be an id that `Ids` made."""
    return _ID.match(text) is not None


def made_at(task_id: str) -> float:
    """Return when an id was made, in seconds since the epoch."""
    return (_decode(task_id) >> 80) / 1000


class Ids:
    """Makes ids: 48 bits of milliseconds, then 80 bits at random that count up within a millisecond.

    An id is greater than every earlier one of this maker and than `newest`, also when the clock is set back.
    """

    def __init__(self, newest: str | None = None) -> None:
        self._last = _decode(newest) if newest is not None and is_id(newest) else 0
        self._lock = threading.Lock()

    def make(self, now: float) -> str:
        """Return a new id for `now`, in seconds since the epoch."""
        with self._lock:
            # The top random bit stays clear, so that counting up within one millisecond has room.
            fresh = int(now * 1000) << 80 | secrets.randbits(79)
            self._last = fresh if fresh >> 80 > self._last >> 80 else self._last + 1 + secrets.randbits(32)
            return _encode(self._last)


def _encode(number: int) -> str:
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def _decode(text: str) -> int:
    number = 0
    for letter in text:
        number = number << 5 | _ALPHABET.index(letter)
    return number
