"""HTTP/1.1 as uvicorn speaks it, for clients that would rather speak HTTP/2, and within bounds for those that mean harm.

Java's HttpClient and `curl --http2` ask with their first request for an upgrade to `h2c`. Who does not know it is to go
on as if nothing was asked; httptools instead drops the body, and a task that was sent would seem empty.

Anybody on the machine may connect, and is only known by their first request: so the bounds are for all. uvicorn has
none for the head of a request, nor for the time that a client may take.
"""

import asyncio
import re
import resource

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_UPGRADE = re.compile(rb"(?<=\r\n)upgrade:", re.IGNORECASE)
_IGNORED = b"x-not-upgraded:"
_HEAD_MOST_BYTES = 64 * 1024
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_REQUEST_SECONDS = 75.0
"""How long a request may be on its way, and a new connection silent; longer than a body may take by itself."""
_SILENT_SECONDS = 1.0
"""How long one may be silent though others want to come."""
_CONNECTIONS_SHARE = 2
"""One of so many of this process's descriptors may be a connection; tasks need some, too."""


class _Joined:
    """A transport that sends the head of an answer together with its body: one system call, and the client wakes once.

    uvicorn writes the two apart. Our bodies are JSON, text or HTML, so none looks like a head.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
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
        if self._head:
            self.write(b"")
        self._transport.close()


class Protocol(HttpToolsProtocol):
    """One connection."""

    _in_head = True
    _head_bytes = 0
    _waits_since: float | None = None
    """Since when the client owes us the rest of a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(_Joined(transport))  # type: ignore[arg-type]  # it has what uvicorn asks of one
        self._waits_since = now = self.loop.time()
        if len(self.connections) > resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _CONNECTIONS_SHARE:
            # Who has come and asks for nothing makes room for who comes now: strangers must not keep the owner out.
            silent = (
                each for each in self.connections if isinstance(each, Protocol) and each.is_late(now, _SILENT_SECONDS)
            )
            next(silent, self).cut()

    def data_received(self, data: bytes) -> None:
        if self._waits_since is None:
            self._waits_since = self.loop.time()
        if self._in_head and (b"pgrade:" in data or b"PGRADE:" in data):
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(_IGNORED, head) + end + rest
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > _HEAD_MOST_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._waits_since = None
        super().on_message_complete()

    def is_late(self, now: float, seconds: float = _REQUEST_SECONDS) -> bool:
        """Say whether a request has been on its way for so long. `now` is of the loop's clock."""
        return self._waits_since is not None and now - self._waits_since > seconds

    def cut(self) -> None:
        """End the connection, whatever was said."""
        self._waits_since = None
        self.transport.abort()
