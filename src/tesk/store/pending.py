"""How many submissions may wait for the database: more are refused before anything is stored."""

from collections.abc import Iterator
from contextlib import contextmanager

from tesk.errors import Overloaded
from tesk.store.rows import NewTask


class Pending:
    """Counts submissions under way, and their bytes."""

    def __init__(self, count_limit: int, bytes_limit: int) -> None:
        self._count_limit = count_limit
        self._bytes_limit = bytes_limit
        self._count = 0
        self._bytes = 0

    @contextmanager
    def admitted(self, new: NewTask) -> Iterator[None]:
        """Count a submission while it is under way. Raises Overloaded; one alone is always let in."""
        size = len(new.body)
        if self._count and (self._count >= self._count_limit or self._bytes + size > self._bytes_limit):
            raise Overloaded("too many submissions wait for the database: send this one again", retry_after_seconds=1)
        self._count += 1
        self._bytes += size
        try:
            yield
        finally:
            self._count -= 1
            self._bytes -= size
