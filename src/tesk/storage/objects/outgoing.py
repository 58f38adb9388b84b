"""One object on its way out: whole in one request, or in parallel parts that become the object when all are there."""

import contextlib
import hashlib
import os
import threading
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator
from socket import socket
from typing import NamedTuple

from tesk.errors import TransferError, TransferFailed
from tesk.storage.objects.bucket import Bucket
from tesk.storage.objects.listing import complaint, element
from tesk.storage.objects.parts import Part, Parts, lines
from tesk.storage.objects.signature import UNSIGNED
from tesk.storage.patience import Again, Patience
from tesk.storage.pour import send
from tesk.storage.scheme import Advance
from tesk.storage.url import shown

_PART_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
_ANSWER_BYTES = 1024 * 1024


class Stored(NamedTuple):
    """A part that the server has."""

    tag: str
    crc32: str


class Outgoing:
    """How far one file is, over all tries."""

    def __init__(self, bucket: Bucket, key: str, url: str, source: int, advance: Advance) -> None:
        self._bucket = bucket
        self._key = key
        self._url = url
        self._source = source
        self._advance = advance
        self._lock = threading.Lock()
        self.size_bytes = os.fstat(source).st_size
        self.done_bytes = 0
        self._parts = Parts(self.size_bytes, _PART_BYTES)
        self._upload = ""
        self._lines = 1
        self._stored: dict[int, Stored] = {}
        self._asked_to_complete = False

    def once(self, helpers: threading.Semaphore) -> None:
        """One try at what is still missing. Raises Again, TransferRefused, TransferFailed, OSError."""
        if self.size_bytes <= _PART_BYTES:
            self._send(Part(1, 0, self.size_bytes), {})
            return
        if not self._upload:
            with self._bucket.ask(
                "POST", self._key, {"uploads": ""}, {"Content-Length": "0"}, amz={"x-amz-checksum-algorithm": "CRC32"}
            ) as answer:
                self._bucket.check(answer, self._url)
                self._lines = lines(answer.line) + 1  # while one is summed, another one is sent
                self._upload = element(answer.read_at_most(_ANSWER_BYTES), "UploadId")
            if not self._upload:
                raise Again("the server begins an upload and does not say its id")
        self._parts.move(self._store, helpers, most=self._lines)
        self._complete()
        self._upload = ""

    def leave_nothing(self, patience: Patience) -> None:
        """Have the parts of an upload that came to nothing deleted, as well as the server lets us."""
        if self._upload:
            with contextlib.suppress(TransferError):
                patience.act(self._url, self._abort)

    def _abort(self) -> None:
        with self._bucket.ask("DELETE", self._key, {"uploadId": self._upload}) as answer:
            self._bucket.check(answer, self._url)

    def _store(self, part: Part) -> None:
        left = part
        try:
            self._stored[part.number] = self._send(part, {"partNumber": str(part.number), "uploadId": self._upload})
            left = Part(part.number, part.end, part.end)
        finally:
            self._parts.give_back(left)

    def _send(self, part: Part, query: dict[str, str]) -> Stored:
        """Send a part, or all. The server verifies its checksum."""
        size = part.end - part.begin
        sent = 0

        def moving(count: int) -> None:
            nonlocal sent
            self._parts.check()
            self._count(count)
            sent += count

        def send_all(line: socket) -> None:
            take_back()  # of a request that was redirected
            there = send(line, self._source, part.begin, size, moving, timeout_seconds=self._bucket.timeout_seconds)
            if there < size:
                raise TransferFailed(f"{shown(self._url)}: the file became shorter while it was sent")

        def take_back() -> None:
            nonlocal sent
            lost, sent = sent, 0
            self._count(-lost)

        large = size > _PIECE_BYTES
        headers = {"Content-Length": str(size)} | ({"Expect": "100-continue"} if large else {})
        body = b"" if large else os.pread(self._source, size, part.begin)
        if not large:
            if len(body) < size:
                raise TransferFailed(f"{shown(self._url)}: the file became shorter while it was sent")
            moving(size)
        stored = False
        crc32, sha256 = self._sums(part) if large else self._sums_of([body])
        try:
            with self._bucket.ask(
                "PUT",
                self._key,
                query,
                headers,
                amz={"x-amz-checksum-crc32": crc32},
                body=body,
                body_sha256=sha256,
                send=send_all if large else None,
                expects=large,
            ) as answer:
                self._bucket.check(answer, self._url)
                stored = True
                return Stored(answer.header("ETag"), crc32)
        finally:
            if not stored:
                take_back()

    def _count(self, size_bytes: int) -> None:
        with self._lock:  # who is told need not be safe from the threads of one file
            self.done_bytes += size_bytes
            self._advance(size_bytes)

    def _sums(self, part: Part) -> tuple[str, str]:
        def pieces() -> Iterator[bytes]:
            for begin in range(part.begin, part.end, _PIECE_BYTES):
                yield os.pread(self._source, min(_PIECE_BYTES, part.end - begin), begin)
                self._advance(0)
                self._parts.check()

        return self._sums_of(pieces())

    def _sums_of(self, pieces: Iterable[bytes]) -> tuple[str, str]:
        """The CRC32, for the server to verify and to keep, and what is signed."""
        crc, hasher = 0, None if self._bucket.is_private_line else hashlib.sha256()
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
            if hasher is not None:
                hasher.update(piece)
        return b64encode(crc.to_bytes(4, "big")).decode(), UNSIGNED if hasher is None else hasher.hexdigest()

    def _complete(self) -> None:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{one.tag.replace('&', '&amp;').replace('<', '&lt;')}</ETag><ChecksumCRC32>{one.crc32}</ChecksumCRC32></Part>"
            for number, one in sorted(self._stored.items())
        )
        document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        again, self._asked_to_complete = self._asked_to_complete, True
        self._advance(0)
        digest = hashlib.sha256(document).hexdigest()
        gone = False
        try:
            with self._bucket.ask(
                "POST", self._key, {"uploadId": self._upload}, body=document, body_sha256=digest
            ) as answer:
                gone = answer.status == 404
                self._bucket.check(answer, self._url)
                said = complaint(answer.read_at_most(_ANSWER_BYTES))
        except TransferError:
            # Asked with no connection in hand: all the others may be in the hands of who waits for this one.
            if again and gone and self._is_there():
                return  # the first time it was done, but the line broke before we heard of it
            raise
        if said.code:  # an error after the server has begun its answer
            raise Again(f"the server answers {said}")

    def _is_there(self) -> bool:
        """Say whether the object is the one that these parts make."""
        try:
            sums = [bytes.fromhex(one.tag.strip('"')) for _, one in sorted(self._stored.items())]
        except ValueError:
            return False
        whole = f'"{hashlib.md5(b"".join(sums), usedforsecurity=False).hexdigest()}-{len(sums)}"'
        with self._bucket.ask("HEAD", self._key) as answer:
            return answer.header("ETag") == whole
