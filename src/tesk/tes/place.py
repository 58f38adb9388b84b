"""A place among all events of a server, as clients send it back: a position, and a proof of the event that stands there. Pure.

A database that was put back from a backup gives its positions again, to other events: by the proof it shows that a
client comes from what was lost.
"""

import re
from binascii import crc32
from typing import NamedTuple, Self

from tesk.errors import BadRequest, Problem
from tesk.tes.document import shown
from tesk.tes.event import Event

_WRITTEN = re.compile(r"([0-9]{1,18})(?:-([0-9a-f]{8}))?\Z")


class Place(NamedTuple):
    """Behind the event at `position`; 0 is the beginning. Without a `proof` it is believed."""

    position: int
    proof: str = ""

    @classmethod
    def of(cls, event: Event) -> Self:
        """Return the place behind an event."""
        said = f"{event.task_id} {event.sequence} {event.time!r}"
        return cls(event.position, f"{crc32(said.encode()):08x}")

    @classmethod
    def read(cls, text: str, name: str) -> Self | None:
        """Return a place that was given by a name, None for "". Raises BadRequest."""
        if not text:
            return None
        parts = _WRITTEN.match(text)
        if parts is None:
            detail = f'must be the `id` of an event, or "0" for the beginning, not {shown(text)}'
            raise BadRequest(f"{name} {detail}", (Problem(name, detail),))
        return cls(int(parts[1]), parts[2] or "")

    def __str__(self) -> str:
        return f"{self.position}-{self.proof}" if self.proof else str(self.position)
