"""HTTP/1.1 as uvicorn speaks it, for clients that would rather speak HTTP/2, and within bounds for those that mean harm.

Java's HttpClient and `curl --http2` ask with their first request for an upgrade to `h2c`. Who does not know it is to go
on as if nothing was asked; httptools instead drops the body, and a task that was sent would seem empty.

Anybody on the machine may connect, and is only known by their first request: so the bounds are for all. uvicorn has
none for the head of a request, nor for the time that a client may take.
"""

import asyncio
import contextlib
import re
from collections.abc import Sequence
from functools import partial

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from tesk.errors import BadRequest
from tesk.http.descriptors import connections_most
from tesk.http.exchange import ABORT, BODILESS, CUT, OFFER, Again, Headers, refusal
from tesk.http.short import LENGTH, ShortWay

_BODY = re.compile(rb"content-length|transfer-encoding", re.IGNORECASE)
"""Where a head says nothing of the kind, the request ends with it."""
_UPGRADE = re.compile(rb"(?<=\r\n)upgrade:", re.IGNORECASE)
_IGNORED = b"x-not-upgraded:"
_HEAD_MOST_BYTES = 64 * 1024
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_REQUEST_SECONDS = 75.0
"""How long a request may be on its way, and a new connection silent; longer than a body may take by itself."""
_SILENT_SECONDS = 1.0
"""How long one may be silent though others want to come."""


class _Joined:
    """A transport that sends the head of an answer together with its body: one system call, and the client wakes once.

    uvicorn writes the two apart. Our bodies are JSON, text or HTML, so none looks like a head.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.send = transport.write
        """Sends what is whole: an answer without a body looks like a head of which more follows."""
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.set_protocol = transport.set_protocol

    def write(self, data: bytes) -> None:
        """Keep a head for what follows it; send all else."""
        if self._head:
            self._transport.write(self._head + data)
            self._head = b""
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Send what is kept, and close."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what is kept: nothing follows it."""
        if self._head:
            self.write(b"")


class Protocol(HttpToolsProtocol):
    """One connection."""

    _between = True
    """Nothing of the next request has come."""
    _in_head = True
    _head_bytes = 0
    _waits_since: float | None = None
    """Since when the client owes us the rest of a request."""
    _head = b""
    """The head that is being parsed, where it came in one piece."""
    _short: ShortWay | None = None
    _polled: ShortWay | None = None
    """The same for what is asked without a body, so that who submits and polls in turn has both."""
    _answering = False
    """A request on the short way has no answer yet. What comes meanwhile is held."""
    _held = b""
    _idle_since: float | None = None
    """Since when nothing was asked after an answer on the short way."""
    _last = False
    _dated: object = None
    _common = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        self._joined = _Joined(transport)
        super().connection_made(self._joined)  # type: ignore[arg-type]  # it has what uvicorn asks of one
        self._waits_since = now = self.loop.time()
        if len(self.connections) > connections_most():
            # Who has come and asks for nothing makes room for who comes now: strangers must not keep the owner out.
            silent = (
                each for each in self.connections if isinstance(each, Protocol) and each.is_late(now, _SILENT_SECONDS)
            )
            next(silent, self).cut()

    def data_received(self, data: bytes) -> None:
        if self._answering:
            self._held += data
            self.flow.pause_reading()
        elif not (self._goes_short(self._short, data) or self._goes_short(self._polled, data)):
            self._idle_since = None
            self._goes_long(data)

    def _goes_short(self, short: ShortWay | None, data: bytes) -> bool:
        found = short.match(data) if short is not None and self._between and self.cycle.response_complete else None
        if short is None or found is None:
            return False
        self._answering = True
        if not short.again(*found, self._answer):
            self._answering = False
            return False
        self._idle_since = None
        self._unset_keepalive_if_required()
        return True

    def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer on the short way."""
        self._answering = False
        if self.transport.is_closing():
            return
        self._joined.send(self._whole(status, headers, body))
        if self._last:
            self.transport.close()
        elif self._held:
            held, self._held = self._held, b""
            self.flow.resume_reading()
            self.data_received(held)
        else:
            self._idle_since = self.loop.time()

    def _whole(self, status: int, headers: Headers, body: bytes) -> bytes:
        if self._dated is not self.server_state.default_headers:
            self._dated = self.server_state.default_headers
            self._common = _lines(self.server_state.default_headers)
        common = (STATUS_LINE[status], self._common, _lines(headers))
        length = b"" if status in BODILESS else b"content-length: %d\r\n" % len(body)
        return b"%b%b%b%b\r\n%b" % (*common, length, body)

    def _offer(self, head: bytes, cycle: RequestResponseCycle, again: Again, names: Sequence[bytes]) -> None:
        if not cycle.keep_alive:
            return
        if _BODY.search(head) is None:
            self._polled = ShortWay(head, (), again)
            return
        with contextlib.suppress(ValueError):
            self._short = ShortWay(head, (LENGTH, *names), again)

    def _goes_long(self, data: bytes) -> None:
        if self._waits_since is None:
            self._waits_since = self.loop.time()
        if self._in_head and (b"pgrade:" in data or b"PGRADE:" in data):
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(_IGNORED, head) + end + rest
        if self._in_head:
            ended = data.find(b"\r\n\r\n")
            self._head = data[: ended + 4] if ended >= 0 and self._between else b""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > _HEAD_MOST_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's own words
        status, headers, body = refusal(BadRequest("this is no request of HTTP/1.1 that could be understood"))
        self.transport.write(self._whole(status, [*headers, (b"connection", b"close")], body))
        self.transport.close()

    def on_message_begin(self) -> None:
        self._between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        head, self._head = self._head, b""
        super().on_headers_complete()
        if head:
            offer = partial(self._offer, head, self.cycle)
            self.scope[OFFER] = offer  # type: ignore[typeddict-unknown-key]  # a scope may hold more
        self.scope[ABORT] = self.cut  # type: ignore[typeddict-unknown-key]  # likewise
        self.scope[CUT] = self.transport.close  # type: ignore[typeddict-unknown-key]  # likewise

    def on_message_complete(self) -> None:
        self._between = self._in_head = True
        self._head_bytes = 0
        self._waits_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        # After the head of an answer to HEAD uvicorn writes nothing.
        self._joined.flush()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._short = self._polled = None
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self._answering:
            self._last = True
        else:
            super().shutdown()

    def look(self, now: float) -> None:
        """End the connection where a request is on its way for too long, or none. `now` is of the loop's clock."""
        if self.is_late(now):
            self.cut()
        elif self._idle_since is not None and now - self._idle_since > self.timeout_keep_alive:
            self.transport.close()

    def is_late(self, now: float, seconds: float = _REQUEST_SECONDS) -> bool:
        """Say whether a request has been on its way for so long. `now` is of the loop's clock."""
        return self._waits_since is not None and now - self._waits_since > seconds

    def cut(self) -> None:
        """End the connection, whatever was said."""
        self._waits_since = None
        self.transport.abort()


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
