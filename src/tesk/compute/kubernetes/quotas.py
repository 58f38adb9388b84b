"""Which namespaces have no room by their quota, who waits for some, and when which of them tries again. Asks nobody."""

import asyncio
import time
from collections.abc import Callable

from tesk.compute.backend import AttemptId
from tesk.errors import BackendUnavailable

_AGAIN_SECONDS = 2.0
"""How long a namespace that has no room is not asked again, by all tasks together; then the first that waits tries."""


class _Full:
    __slots__ = ("alarm", "sentence", "until", "waiting")

    def __init__(self) -> None:
        self.until = 0.0
        self.sentence = ""
        self.waiting: dict[AttemptId, None] = {}  # in order
        self.alarm: asyncio.TimerHandle | None = None


class Quotas:
    """`tell` is told whose turn it is to try again. It may be told of one that is wanted no more: then the next one follows."""

    def __init__(self, tell: Callable[[AttemptId], None], *, again_seconds: float = _AGAIN_SECONDS) -> None:
        self._tell = tell
        self._again_seconds = again_seconds
        self._full: dict[str, _Full] = {}

    def __len__(self) -> int:
        """How many wait."""
        return sum(len(full.waiting) for full in self._full.values())

    def check(self, namespace: str, attempt: AttemptId) -> None:
        """Raise BackendUnavailable where it is known that there is no room; then it waits for its turn."""
        full = self._full.get(namespace)
        if full is not None and time.monotonic() < full.until:
            full.waiting.setdefault(attempt)
            raise BackendUnavailable(full.sentence)

    def no_room(self, namespace: str, attempt: AttemptId, sentence: str) -> None:
        """A namespace had none for an attempt, which waits for another turn."""
        full = self._full.setdefault(namespace, _Full())
        full.sentence = sentence
        full.until = time.monotonic() + self._again_seconds
        full.waiting.setdefault(attempt)
        self._arm(namespace, full)

    def room(self, namespace: str, attempt: AttemptId | None = None) -> None:
        """There is room, or may be: `attempt` found some, or something ended. The next one tries."""
        full = self._full.get(namespace)
        if full is None:
            return
        if attempt is not None:
            full.waiting.pop(attempt, None)
        full.until = 0.0
        self._next(namespace, full)

    def sentence(self, attempt: AttemptId) -> str | None:
        """Return why an attempt waits, None where it does not."""
        return next((full.sentence for full in self._full.values() if attempt in full.waiting), None)

    def forget(self, attempt: AttemptId) -> None:
        """An attempt waits no more."""
        for full in self._full.values():
            full.waiting.pop(attempt, None)

    def close(self) -> None:
        """Tell of nobody later."""
        for full in self._full.values():
            if full.alarm is not None:
                full.alarm.cancel()

    def _next(self, namespace: str, full: _Full) -> None:
        if full.alarm is not None:
            full.alarm.cancel()
        if not full.waiting:
            del self._full[namespace]
            return
        first = next(iter(full.waiting))
        del full.waiting[first]
        self._tell(first)
        self._arm(namespace, full)

    def _arm(self, namespace: str, full: _Full) -> None:
        if full.alarm is not None:
            full.alarm.cancel()
        full.alarm = asyncio.get_running_loop().call_later(self._again_seconds, self._next, namespace, full)
