"""One connection to a listener: a POST at a time, its answer read to a bound. Ours: half of what is sent would be the client's time."""

import asyncio
import email.utils
import ssl
import time
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

ANSWER_MOST_BYTES = 4096
_MOST_BYTES = 64 * 1024
"""Of all that comes before the answer is whole: heads without end, and the words around a body."""


class Answer(NamedTuple):
    """What a listener said: its status, the beginning of the body, and for how many seconds it asks to be left alone."""

    code: int
    body: bytes
    retry_after_seconds: float | None


class Broken(Exception):  # noqa: N818  it is the line that is
    """No answer came, or none that can be read; the message says why."""


class Line(asyncio.Protocol):
    """A connection. `idle_since` is the loop's time at which it was last used; `usable` says whether it can be used again."""

    def __init__(self) -> None:
        self.usable = False
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._begun = False
        self._reset()

    def _reset(self) -> None:
        self._parser = HttpResponseParser(self)
        self._body = bytearray()
        self._bytes = 0
        self._head_done = False
        self._retry_after: float | None = None

    async def post(self, request: bytes, *, first_seconds: float, whole_seconds: float) -> Answer:
        """Send a whole request and return the answer: begun within `first_seconds`, there within `whole_seconds`. Raises Broken.

        What is canceled leaves the line closed.
        """
        if self._transport is None or not self.usable:
            raise Broken("the connection was closed")
        self.usable = False
        self._begun = False
        self._waiting = self._loop.create_future()
        first = self._loop.call_later(first_seconds, self._late, f"no answer within {first_seconds:g} s")
        whole = self._loop.call_later(whole_seconds, self._late, f"no whole answer within {whole_seconds:g} s", True)
        try:
            self._transport.write(request)
            return await self._waiting
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            first.cancel()
            whole.cancel()
            self._waiting = None

    def close(self) -> None:
        """Close at once, whatever is under way."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _late(self, reason: str, whole: bool = False) -> None:
        if whole or not self._begun:
            self._break(reason)

    def _break(self, reason: str) -> None:
        self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Broken(reason))

    def _answer(self, *, again: bool) -> None:
        if self._waiting is None or self._waiting.done():
            self.close()
            return
        answer = Answer(self._parser.get_status_code(), bytes(self._body[:ANSWER_MOST_BYTES]), self._retry_after)
        self._waiting.set_result(answer)
        if again:
            self._reset()
            self.usable = True
            self.idle_since = self._loop.time()
        else:
            self.close()

    # -- what the loop calls -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's have other classes
        self.usable = True
        self.idle_since = self._loop.time()

    def data_received(self, data: bytes) -> None:
        if self._waiting is None or self._waiting.done():
            self.close()  # who speaks unasked is no listener
            return
        self._begun = True
        self._bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._break(f"the answer is no HTTP/1.1: {error}")
            return
        if self._bytes > _MOST_BYTES and not self._waiting.done():
            if self._head_done:
                self._answer(again=False)
            else:
                self._break("the head of the answer is too long")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._waiting is None or self._waiting.done():
            return
        if self._head_done and self._ends_with_the_line:
            self._answer(again=False)
        else:
            self._break(f"the connection broke before the answer{f': {exc}' if exc else ''}")

    # -- what the parser calls -------------------------------------------------------------------------------------------------

    _ends_with_the_line = True

    def on_message_begin(self) -> None:
        self._ends_with_the_line = True

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered == b"retry-after":
            self._retry_after = _seconds(value)
        elif lowered in (b"content-length", b"transfer-encoding"):
            self._ends_with_the_line = False

    def on_headers_complete(self) -> None:
        self._head_done = self._parser.get_status_code() >= 200

    def on_body(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > ANSWER_MOST_BYTES:
            # What it says counts; all that it would say is not for us.
            self._answer(again=False)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            return  # a word before the answer
        self._answer(again=self._parser.should_keep_alive())


async def connect(addresses: list[str], port: int, *, host: str, tls: ssl.SSLContext | None, seconds: float) -> Line:
    """Return a line to the first of these addresses that answers. Raises Broken. `tls` wants the certificate of `host`."""
    loop = asyncio.get_running_loop()
    reason = "no address"
    ends = time.monotonic() + seconds
    for address in addresses:
        try:
            async with asyncio.timeout(max(0.05, ends - time.monotonic())):
                _, line = await loop.create_connection(
                    Line, address, port, ssl=tls, server_hostname=host if tls is not None else None
                )
        except TimeoutError:
            reason = f"no connection within {seconds:g} s"
        except (OSError, ssl.CertificateError) as error:
            reason = (
                f"no connection: {error.strerror if not isinstance(error, ssl.SSLError) and error.strerror else error}"
            )
        else:
            return line
    raise Broken(reason)


def _seconds(value: bytes) -> float | None:
    """The time of a Retry-After: seconds, or a date."""
    text = value.decode("latin-1").strip()
    if text.isdecimal() and len(text) < 9:
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
