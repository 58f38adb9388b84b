"""A clock to tell ages by: the system's, but where that is set forward, nothing grows much older."""

import time
from collections.abc import Callable

LEAP_SECONDS = 3600.0
"""So far ahead it follows: a day too far would end, or forget, all that there is."""


def ages(clock: Callable[[], float]) -> Callable[[], float]:
    """Return a clock of seconds since the epoch, from one that may be set while this process runs."""
    begun = clock() - time.monotonic()
    return lambda: min(clock(), begun + time.monotonic() + LEAP_SECONDS)
