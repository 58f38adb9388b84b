"""One object on its way in: in parallel parts of one and the same version, verified against what its store says of it."""

import os
import threading
from collections.abc import Iterator

from tesk.errors import TransferRefused
from tesk.storage.answer import Answer
from tesk.storage.objects.bucket import Bucket, Changed
from tesk.storage.objects.checksum import Checksum, checksum_of
from tesk.storage.objects.parts import Part, Parts, lines
from tesk.storage.patience import Again
from tesk.storage.pour import pour, write
from tesk.storage.scheme import Advance
from tesk.storage.url import shown

_PART_BYTES = 32 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
_SMALL_BYTES = 256 * 1024
_WITH_CHECKSUM = {"x-amz-checksum-mode": "ENABLED"}


class Incoming:
    """How far one object is, over all tries."""

    def __init__(self, bucket: Bucket, key: str, url: str, target: int, advance: Advance) -> None:
        self._bucket = bucket
        self._key = key
        self._url = url
        self._target = target
        self._advance = advance
        self._lock = threading.Lock()
        self._parts: Parts | None = None
        self._size_bytes = 0
        self._tag = ""
        self._lines = 1
        self._checksum: Checksum | None = None
        self.done_bytes = 0

    def once(self, helpers: threading.Semaphore) -> None:
        """One try at what is still missing. Raises Again, TransferRefused, TransferFailed, OSError."""
        try:
            if self._parts is None:
                self._begin(helpers)
            else:
                self._parts.move(self._range, helpers, most=self._lines)
        except Changed:
            self._restart()
            raise
        if self._checksum is not None:
            try:
                self._checksum.check(self._written())
            except Again:
                self._restart()
                raise

    def _begin(self, helpers: threading.Semaphore) -> None:
        """Ask for all of it; what the first answer says holds for all parts. Others meanwhile take parts from the end."""
        with self._bucket.ask("GET", self._key, amz=_WITH_CHECKSUM) as answer:
            self._bucket.check(answer, self._url)
            if answer.length is None:
                raise TransferRefused(f"{shown(self._url)}: the server does not say how large it is")
            size, checksum = answer.length, checksum_of(answer.header)
            if size <= _SMALL_BYTES:
                data = memoryview(bytearray(size))
                arrived = answer.readinto(data)
                if arrived < size:
                    raise Again(f"the line broke after {arrived} of {size} bytes")
                if checksum is not None:
                    checksum.check((data,))
                write(self._target, data, 0)
                self.done_bytes = size
                self._advance(size)
                return
            self._size_bytes, self._checksum = size, checksum
            self._tag = answer.header("ETag")
            self._lines = lines(answer.line)
            parts = self._parts = Parts(size, _PART_BYTES)
            parts.move(self._range, helpers, most=self._lines, first=lambda: self._from_the_start(answer, parts))

    def _written(self) -> Iterator[bytes]:
        for begin in range(0, self._size_bytes, _PIECE_BYTES):
            self._advance(0)
            yield os.pread(self._target, _PIECE_BYTES, begin)

    def _from_the_start(self, answer: Answer, parts: Parts) -> None:
        at = 0
        while (part := parts.take_at(at)) is not None:
            self._pour(answer, part, parts)
            at = part.end

    def _range(self, part: Part) -> None:
        assert self._parts is not None
        headers = {"Range": f"bytes={part.begin}-{part.end - 1}"}
        if self._tag.startswith('"'):
            headers["If-Match"] = self._tag
        try:
            with self._bucket.ask("GET", self._key, headers=headers) as answer:
                self._bucket.check(answer, self._url)
                wanted = f"bytes {part.begin}-{part.end - 1}/{self._size_bytes}"
                if answer.header("Content-Range") != wanted or answer.length != part.end - part.begin:
                    raise Changed(f"the server sent another part than was asked for ({wanted})")
                part, took = Part(part.number, part.begin, part.begin), part
                self._pour(answer, took, self._parts)
        finally:
            self._parts.give_back(part)

    def _pour(self, answer: Answer, part: Part, parts: Parts) -> None:
        at = part.begin

        def moved(count: int) -> None:
            nonlocal at
            at += count
            with self._lock:  # who is told need not be safe from the threads of one file
                self.done_bytes += count
                self._advance(count)
            parts.check()

        try:
            pour(answer, self._target, at, part.end - at, moved, timeout_seconds=self._bucket.timeout_seconds)
        finally:
            parts.give_back(Part(part.number, at, part.end))
        if at < part.end:
            raise Again(f"the line broke after {self.done_bytes} of {self._size_bytes} bytes")

    def _restart(self) -> None:
        os.ftruncate(self._target, 0)
        lost, self.done_bytes = self.done_bytes, 0
        self._parts = None
        self._advance(-lost)
