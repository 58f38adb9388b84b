"""What is read of a request to the listener, and what its answers are headed with."""

from typing import TypeVar

import msgspec

from tesk.errors import BadRequest
from tesk.http.deadline import Deadlines
from tesk.http.exchange import Exchange, Headers, body_in_time

T = TypeVar("T")

_NO_STORE = (b"cache-control", b"no-store")
_NO_SNIFF = (b"x-content-type-options", b"nosniff")
TEXT: Headers = [(b"content-type", b"text/plain; charset=utf-8"), _NO_STORE, _NO_SNIFF]
METRICS: Headers = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), _NO_STORE]
STREAM: Headers = [(b"content-type", b"text/event-stream; charset=utf-8"), _NO_STORE, (b"x-accel-buffering", b"no")]
CHALLENGE: Headers = [(b"www-authenticate", b'Bearer realm="tesk listener"')]

CALLBACK_MOST_BYTES = 64 * 1024
IDS_MOST_BYTES = 4 * 1024 * 1024


class Bodies:
    """Reads bodies within bounds of size and time."""

    def __init__(self) -> None:
        self._deadlines = Deadlines()

    async def raw(self, exchange: Exchange) -> bytes:
        """Return the body of a callback. Raises TooLarge, BadRequest for one that does not come, Disconnected."""
        return await body_in_time(self._deadlines, exchange, CALLBACK_MOST_BYTES, "for a callback")

    async def read(self, exchange: Exchange, kind: type[T], most_bytes: int) -> T:
        """Return the body as what it should be; an empty one has the defaults. Raises BadRequest, TooLarge, Disconnected."""
        raw = await body_in_time(self._deadlines, exchange, most_bytes, "here")
        try:
            return msgspec.json.decode(raw.strip() or b"{}", type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadRequest(f"the body is not what is expected here: {error}") from error
