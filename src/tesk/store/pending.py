"""How many submissions may wait for the database: more are refused before anything is stored."""

from collections.abc import Sequence

from tesk.errors import Overloaded
from tesk.store.rows import NewTask


class Pending:
    """Counts submissions under way, and their bytes."""

    def __init__(self, count_limit: int, bytes_limit: int) -> None:
        self._count_limit = count_limit
        self._bytes_limit = bytes_limit
        self._count = 0
        self._bytes = 0

    def enter(self, new: NewTask) -> Overloaded | None:
        """Count a submission that is now under way, or return why it must not be. One alone is always let in."""
        return self._enter(1, len(new.body))

    def enter_all(self, news: Sequence[NewTask]) -> Overloaded | None:
        """Do the same for many that are stored together, as if they were one."""
        return self._enter(len(news), sum(len(new.body) for new in news))

    def _enter(self, count: int, size: int) -> Overloaded | None:
        if self._count and (self._count >= self._count_limit or self._bytes + size > self._bytes_limit):
            return Overloaded("too many submissions wait for the database: send this one again", retry_after_seconds=1)
        self._count += count
        self._bytes += size
        return None

    def leave(self, news: Sequence[NewTask]) -> None:
        """Count them no longer: they are stored, or not."""
        self._count -= len(news)
        self._bytes -= sum(len(new.body) for new in news)
