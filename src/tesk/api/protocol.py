"""HTTP/1.1 as uvicorn speaks it, for clients that would rather speak HTTP/2.

Java's HttpClient and `curl --http2` ask with their first request for an upgrade to `h2c`. Who does not know it is to go
on as if nothing was asked; httptools instead drops the body, and a task that was sent would seem empty.
"""

import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_UPGRADE = re.compile(rb"(?<=\r\n)upgrade:", re.IGNORECASE)
_IGNORED = b"x-not-upgraded:"


class Protocol(HttpToolsProtocol):
    """One connection."""

    _in_head = True

    def data_received(self, data: bytes) -> None:
        if self._in_head and (b"pgrade:" in data or b"PGRADE:" in data):
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(_IGNORED, head) + end + rest
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()
