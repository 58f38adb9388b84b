"""The short way of a request: its head is that of one that was answered on this connection, and need not be understood again."""

import re
from collections.abc import Sequence

from tesk.http.exchange import Again

_MOST_DIGITS = 9
LENGTH = b"content-length"


class ShortWay:
    """A head but for the values of some headers, and who takes the next body.

    The same bytes mean the same: a client that sends one task after the other is understood, let in and authenticated
    by its first request on a connection.
    """

    __slots__ = ("_lengthy", "_parts", "_rest", "_values", "again")

    def __init__(self, head: bytes, names: Sequence[bytes], again: Again) -> None:
        """`names`, in lower case, are of the headers whose values may differ; `LENGTH` is first, where there may be a body.

        Raises ValueError where one of them does not stand in the head exactly once.
        """
        self._lengthy = LENGTH in names
        self._values = len(names)
        self._parts: list[tuple[bytes, int]] = []
        self.again = again
        end = 0
        for (start, until), number in sorted((_value(head, name), number) for number, name in enumerate(names)):
            self._parts.append((head[end:start], number))
            end = until
        self._rest = head[end:]

    def match(self, data: bytes) -> tuple[bytes, tuple[bytes, ...]] | None:
        """Return the body and the values, but that of LENGTH, where `data` is such a head with one whole body, and nothing else."""
        values, at = [b""] * self._values, 0
        for before, number in self._parts:
            if not data.startswith(before, at):
                return None
            start = at + len(before)
            at = data.find(b"\r", start)
            value = values[number] = data[start:at]
            if at < 0 or b"\n" in value:
                return None
        if not data.startswith(self._rest, at):
            return None
        body = data[at + len(self._rest) :]
        if not self._lengthy:
            return None if body else (body, tuple(values))
        digits = values[0]
        if len(digits) > _MOST_DIGITS or not digits.isdigit() or int(digits) != len(body):
            return None
        return body, tuple(values[1:])


def _value(head: bytes, name: bytes) -> tuple[int, int]:
    found = re.findall(rb"(?i)\r\n%b:" % re.escape(name), head)
    place = re.search(rb"(?i)\r\n%b: *([^\r\n]*)\r\n" % re.escape(name), head)
    if len(found) != 1 or place is None:
        raise ValueError(f"the header {name.decode()} does not stand there once")
    return place.span(1)
