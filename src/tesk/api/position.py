"""How far who follows a task's logs has come, and what of each piece is new to them. Pure."""

import re
from binascii import crc32
from collections.abc import Iterator
from typing import Literal, Self

from msgspec import Struct

from tesk.compute.backend import SEPARATE, Piece

Said = Literal["stdout", "stderr", "combined", "system"]

_LETTERS: dict[str, Said] = {"o": "stdout", "e": "stderr", "c": "combined", "s": "system"}
_WRITTEN = re.compile(r"(\d{1,9})\.(\d{1,5})((?:\.[oecs]\d{1,15})*)(?:\.h([0-9a-f]{8}))?")
_HEAD_BYTES = 1024


class Fresh(Struct, frozen=True, kw_only=True):
    """What is new of a stream. `missed_bytes`: so many came before it and are not kept. `note`: what else is to be known of it."""

    stream: Said
    data: bytes
    missed_bytes: int = 0
    note: str = ""


class Position:
    """A place in the streams of one executor of one attempt; attempt 0 is whichever is the last.

    As text it is what a follower who was cut off sends back. A log that is known as one stream (a pod's) may begin
    elsewhere by then, since its node keeps only the last part of a long one: a checksum of its first bytes shows it.
    """

    def __init__(self, attempt: int = 0, executor: int = 0, counts: dict[Said, int] | None = None) -> None:
        self.attempt = attempt
        self.executor = executor
        self._counts: dict[Said, int] = counts or {}
        self._claimed: int | None = None
        """The checksum that the follower has of the head."""
        self._held = b""
        self._head = b""
        self._behind: list[Piece] = []

    @classmethod
    def read(cls, text: str, stream: Said) -> Self | None:
        """Return the position in a stream that a text stands for, None where it stands for none."""
        parts = _WRITTEN.fullmatch(text)
        if parts is None:
            return None
        counts = {_LETTERS[each[0]]: int(each[1:]) for each in parts[3].split(".")[1:]}
        position = cls(int(parts[1]), int(parts[2]), {k: v for k, v in counts.items() if stream in ("combined", k)})
        if position._counts.get("combined"):
            position._claimed = int(parts[4] or "0", 16)
        return position

    def __str__(self) -> str:
        counts = (f".{letter}{self._counts[name]}" for letter, name in _LETTERS.items() if self._counts.get(name))
        head = f".h{crc32(self._head):08x}" * bool(self._head)
        return f"{self.attempt}.{self.executor}{''.join(counts)}{head}"

    def at(self, attempt: int, executor: int) -> None:
        """Be told what comes next; what was known of anything else counts no more."""
        if (self.attempt or attempt, self.executor) != (attempt, executor):
            self._counts, self._claimed, self._held, self._head, self._behind = {}, None, b"", b"", []
        self.attempt, self.executor = attempt, executor

    def fresh(self, piece: Piece) -> Iterator[Fresh]:
        """Yield what is new of a piece."""
        if piece.stream in SEPARATE and self._counts.get("combined"):
            self._behind.append(piece)
        else:
            start, data, note = self._proved(piece)
            yield from self.said(piece.stream, start, data, note)

    def said(self, stream: Said, start: int, data: bytes, note: str = "") -> Iterator[Fresh]:
        """Yield what is new of the bytes of a stream that begin at `start`."""
        known = self._counts.get(stream, 0)
        new = data[max(0, known - start) :]
        if new or note:
            self._counts[stream] = start + len(data)
            yield Fresh(stream=stream, data=new, missed_bytes=max(0, start - known), note=note)

    def rest(self) -> Iterator[Fresh]:
        """Yield what is new of streams that were one before, and are known apart since their executor has ended."""
        behind, self._behind = self._behind, []
        sizes: dict[Said, int] = {piece.stream: piece.start for piece in behind if not piece.data}
        known, wrote = self._counts.get("combined", 0), [name for name, size in sizes.items() if size]
        if sum(sizes.values()) <= known:
            return
        if len(wrote) == 1:
            self._counts = {wrote[0]: known}
            self._head = b""
            for piece in behind:
                yield from self.said(piece.stream, piece.start, piece.data)
            return
        words = f"executor {self.executor} ended meanwhile; what it wrote last is in its log, stdout and stderr each by itself"
        yield Fresh(stream="combined", data=b"", note=words)

    def _proved(self, piece: Piece) -> tuple[int, bytes, str]:
        """Return a piece of one stream once it is known that the stream begins as it did, and what is to be said of it."""
        start, data, note = piece.start, piece.data, ""
        if piece.stream != "combined":
            return start, data, note
        if start == len(self._head) < _HEAD_BYTES:
            self._head += data[: _HEAD_BYTES - start]
        if self._claimed is not None:
            self._held += data
            wanted = min(self._counts["combined"], _HEAD_BYTES)
            if len(self._held) < wanted and data:
                return self._counts["combined"], b"", ""
            if crc32(self._held[:wanted]) != self._claimed:
                self._counts["combined"] = 0
                note = "the stream begins elsewhere now (a node keeps only the last part of long ones): here it is"
            start, data = 0, self._held
            self._claimed, self._held = None, b""
        return start, data, note
