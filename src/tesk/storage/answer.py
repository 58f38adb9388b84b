"""Read one answer of HTTP/1.1 (RFC 9112) from a connection: its head, and its body by whatever way is the quickest.

The library's own reader costs a stager a fifth of its start and of each small file: it parses headers as e-mail.
"""

import socket
import time

from tesk.errors import TransferRefused
from tesk.storage.pace import Pace
from tesk.storage.patience import Again
from tesk.storage.site import Place
from tesk.storage.url import heard, shown

_PIECE_BYTES = 64 * 1024
_HEAD_MOST_BYTES = 64 * 1024
_LINE_MOST_BYTES = 4096
_BEFORE_MOST = 100
"""So many answers of 1xx may come before the one that counts."""
_DIGITS_MOST = 18
"""More bytes than this can say have no place in any file."""
_NO_BODY = frozenset({204, 304})
_NEVER = frozenset({"HEAD", "CONNECT"})
_SWITCHING = 101


class Answer:
    """What a server says.

    `line` is the connection, from which a body may be taken past this object when `read1` has given what it holds:
    whoever does so counts it off `length`, and tells `pace`. `length` is what is missing of the body (None: the server did not say, and reads
    go on until the end). `place` is who said it at last; `said` the body of a refusal, if it is short. Bytes that do
    not follow the rules are `Again`, a line that ends too early gives nothing more, as if it were the end.
    """

    def __init__(self, line: socket.socket, method: str, place: Place) -> None:
        self.line = line
        self.place = place
        self.status = 0
        self.reason = ""
        self.length: int | None = None
        self.will_close = False
        self.said = b""
        self.pace = Pace(line.gettimeout())
        self._method = method
        self._headers: dict[str, str] = {}
        self._held = b""
        self._chunked = False
        self._chunk_left = 0
        self._closed = False

    def begin(self) -> None:
        """Read heads until the one that counts: those of 1xx only say that there is more to come."""
        for _ in range(_BEFORE_MOST):
            self._head(self._until(b"\r\n\r\n", _HEAD_MOST_BYTES))
            if self.status >= 200:
                self._measure()
                return
            if self.status == _SWITCHING:
                raise _strange("it wants to speak something else")
            self.pace = Pace(self.line.gettimeout())
        raise _strange("it says without end that more is to come")

    def goes_on(self) -> bool:
        """Say whether what comes next is an answer of 1xx; waits for it. It is left for `begin`."""
        while len(self._held) < 10:
            if not self._more():
                return False
        return self._held[:9] in {b"HTTP/1.1 ", b"HTTP/1.0 "} and self._held[9:10] == b"1"

    def header(self, name: str) -> str:
        """Return a header's value, "" where there is none; of several, with commas between them."""
        return self._headers.get(name.lower(), "")

    def content_length(self) -> int | None:
        """Return what the header of this name says, also where no body follows; None where there is none."""
        if not self.header("Content-Length"):
            return None
        values = {value.strip() for value in self.header("Content-Length").split(",")}
        value = values.pop()
        if values or not (value.isascii() and value.isdecimal()) or len(value) > _DIGITS_MOST:
            raise _strange("two lengths, or none that is a number")
        return int(value)

    def isclosed(self) -> bool:
        """Say whether the body was read to its end, or given up."""
        return self._closed or self.length == 0

    def close(self) -> None:
        """Give the rest of the body up, and with it the connection."""
        if not self.isclosed():
            self.will_close = True
        self._closed = True

    @property
    def clean(self) -> bool:
        """Say whether the connection may be used for another request."""
        return self.length == 0 and not self.will_close and not self._held

    def read1(self, most: int = _PIECE_BYTES) -> bytes:
        """Return what is there of the body, at most so much, and wait if there is nothing; nothing at its end."""
        most = self._room(most)
        if not most:
            return b""
        if not self._held:
            piece = self._recv(most)
        else:
            piece, self._held = self._held[:most], self._held[most:]
        self._took(len(piece))
        return piece

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer; return how much was filled, less than all only at the end."""
        filled = 0
        while filled < len(buffer) and (most := self._room(len(buffer) - filled)):
            if self._held:
                count = min(most, len(self._held))
                buffer[filled : filled + count] = self._held[:count]
                self._held = self._held[count:]
            else:
                since = time.monotonic()
                count = self.line.recv_into(buffer[filled : filled + most])
                self.pace.moved(count, since)
            self._took(count)
            if not count:
                break
            filled += count
        return filled

    def read_at_most(self, size_bytes: int) -> bytes:
        """Return the whole body. Raises TransferRefused for one that is longer, Again for one that breaks off."""
        data = bytearray()
        while piece := self.read1(min(_PIECE_BYTES, size_bytes + 1 - len(data))):
            data += piece
            if len(data) > size_bytes:
                raise TransferRefused(f"{shown(self.place.url)}: the answer is longer than {size_bytes} bytes")
        if self.length:
            raise Again(f"the line broke; {self.length} bytes of the answer are missing")
        return bytes(data)

    def _head(self, text: str) -> None:
        first, *lines = text.split("\r\n")
        version, _, rest = first.partition(" ")
        code, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or len(code) != 3 or not (code.isascii() and code.isdecimal()):
            raise _strange("no status line")
        self.status = int(code)
        self.reason = heard(reason)
        headers: dict[str, str] = {}
        name = ""
        for line in lines:
            if name and line[:1] in {" ", "\t"}:  # RFC 9112, 5.2: a line that goes on, as old servers write
                headers[name] += " " + line.strip()
                continue
            name, colon, value = line.partition(":")
            if not colon or not name or name[-1] in " \t":
                raise _strange("a header that is none")
            name, value = name.lower(), value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self._headers = headers
        connection = headers.get("connection", "").lower()
        self.will_close = "close" in connection or (version == "HTTP/1.0" and "keep-alive" not in connection)

    def _measure(self) -> None:
        """RFC 9112, 6.3: how long the body is."""
        coding = self._headers.get("transfer-encoding", "").lower()
        if self._method in _NEVER or self.status in _NO_BODY:
            self.length = 0
        elif coding:
            if coding != "chunked":
                raise _strange("a coding that nobody asked for")
            self._chunked = True
        else:
            self.length = self.content_length()
            self.will_close = self.will_close or self.length is None

    def _room(self, most: int) -> int:
        """How much of the body may be taken now."""
        if self._closed or self.length == 0:
            return 0
        if self._chunked:
            if not self._chunk_left:
                self._next_chunk()
            return min(most, self._chunk_left)
        return most if self.length is None else min(most, self.length)

    def _took(self, count: int) -> None:
        if self._chunked:
            if not count:
                raise Again("the line broke")
            self._chunk_left -= count
            if not self._chunk_left and self._until(b"\r\n", 2):
                raise _strange("a chunk that is longer than it says")
        elif self.length is not None:
            self.length -= count
            self.will_close = self.will_close or not count
        elif not count:
            self.length = 0

    def _next_chunk(self) -> None:
        size = self._until(b"\r\n", _LINE_MOST_BYTES).partition(";")[0].strip()
        if not size or len(size) > 15 or not set(size.lower()) <= set("0123456789abcdef"):
            raise _strange("a chunk without a size")
        self._chunk_left = int(size, 16)
        if not self._chunk_left:
            most = _HEAD_MOST_BYTES
            while trailer := self._until(b"\r\n", most):  # which nobody asked for
                most -= len(trailer)
            self.length = 0

    def _until(self, end: bytes, most: int) -> str:
        """Take what is there up to `end`, which is taken, too."""
        while (at := self._held.find(end)) < 0:
            if len(self._held) > most:
                raise _strange("a line without an end")
            if not self._more():
                raise Again("the line broke")
        text, self._held = self._held[:at], self._held[at + len(end) :]
        if at > most:
            raise _strange("a line without an end")
        return text.decode("latin-1")

    def _more(self) -> bool:
        piece = self._recv(_PIECE_BYTES)
        self._held += piece
        return bool(piece)

    def _recv(self, most: int) -> bytes:
        since = time.monotonic()
        piece = self.line.recv(most)
        self.pace.moved(len(piece), since)
        return piece


def _strange(what: str) -> Again:
    return Again(f"the server does not speak HTTP as it should ({what})")
