"""What a transfer waits for: the newest that failed and is tried again."""

import time

_SHOWN_SECONDS = 2.0
"""A wait may be shorter than the moment in which anybody looks."""


class Trouble:
    """Hears of it from the schemes' patience, and says it as long as it is true. Safe from many threads."""

    def __init__(self) -> None:
        self._said: tuple[str, float] = ("", 0.0)

    def hear(self, says: str, wait_seconds: float) -> None:
        """Hear of a failure after which something is tried again in a while."""
        self._said = (says, time.monotonic() + max(_SHOWN_SECONDS, wait_seconds))

    def now(self) -> str | None:
        """Return what is waited for, None for nothing."""
        says, until = self._said
        return says if time.monotonic() < until else None
