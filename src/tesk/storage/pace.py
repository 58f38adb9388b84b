"""The least rate of a server: who sends a byte now and then is as good as silent, and would keep us for ever."""

import time

from tesk.storage.patience import Again

_LEAST_BYTES_PER_SECOND = 100


class Pace:
    """Counts what moves while we wait for the other side; the time that we take ourselves is no fault of it.

    It may think for `timeout_seconds` before each answer, so twice as long is looked at together. None: no limit.
    """

    def __init__(self, timeout_seconds: float | None) -> None:
        self._window_seconds = None if timeout_seconds is None else 2 * timeout_seconds
        self._waited = 0.0
        self._bytes = 0

    def moved(self, size_bytes: int, since: float) -> None:
        """Hear of bytes for which we have waited `since` (monotonic seconds). Raises Again where they are too few."""
        self._waited += time.monotonic() - since
        self._bytes += size_bytes
        if self._window_seconds is not None and self._waited > self._window_seconds:
            if self._bytes < _LEAST_BYTES_PER_SECOND * self._waited:
                raise Again(f"the server is slower than {_LEAST_BYTES_PER_SECOND} bytes a second")
            self._waited, self._bytes = 0.0, 0
