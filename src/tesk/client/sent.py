"""Server-sent events as values: bytes to events. No socket."""

import json
from dataclasses import dataclass

from tesk.client.answers import Document
from tesk.errors import StrangeAnswer


@dataclass(frozen=True, slots=True)
class Sent:
    """One event. `id` is where to go on from, behind it; without `data` it says only that: a heartbeat."""

    id: str
    kind: str
    data: str


class Parser:
    """Reads events from pieces of a stream as they come, as the HTML standard has them."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self._rest = b""

    def feed(self, data: bytes) -> list[Sent]:
        """Return the events that are whole now."""
        blocks = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        self._rest = blocks.pop()
        return [sent for block in blocks if (sent := self._event(block)) is not None]

    def _event(self, block: bytes) -> Sent | None:
        kind, data, told = "message", [], False
        for line in block.decode("utf-8", "replace").split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id" and value.isascii() and (value.isprintable() or not value):  # it goes into a header
                self.last_id, told = value, True
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)
        return Sent(self.last_id, kind, "\n".join(data)) if data or told else None


def document_of(sent: Sent) -> Document:
    """Return what an event tells, {} for a heartbeat. Raises StrangeAnswer."""
    if not sent.data:
        return {}
    try:
        document = json.loads(sent.data)
    except (ValueError, RecursionError) as error:
        raise StrangeAnswer(f"an event that is no JSON: {sent.data[:120]}") from error
    return document if isinstance(document, dict) else {}
