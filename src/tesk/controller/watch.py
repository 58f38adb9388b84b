"""What people may know of the controller: that it lives, how long tasks waited and ran."""

import time
from collections.abc import Callable

from tesk.store.rows import Claimed

Measure = Callable[[float], None]
"""Takes seconds, once for each task."""


class Watch:
    """Told by the loops, asked by the health page and the metrics."""

    def __init__(self, *, run_seconds: Measure, clock: Callable[[], float] = time.time) -> None:
        self._run_seconds = run_seconds
        self._clock = clock
        self._last = time.monotonic()

    def beat(self) -> None:
        """Say that the loops are alive."""
        self._last = time.monotonic()

    def silent_seconds(self) -> float:
        """Return how long ago the last beat was."""
        return time.monotonic() - self._last

    def ended(self, task: Claimed) -> None:
        """Say that an attempt is over."""
        self._run_seconds(max(0.0, self._clock() - task.started))
