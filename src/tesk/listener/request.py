"""One request to the listener, read within bounds; and answers. No framework."""

import asyncio
from typing import TypeAlias, TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from tesk.errors import BadRequest, RequestError, TooLarge
from tesk.tes import messages

T = TypeVar("T")

Headers: TypeAlias = list[tuple[bytes, bytes]]

_BODY_SECONDS = 10.0
_NO_STORE = (b"cache-control", b"no-store")
_NO_SNIFF = (b"x-content-type-options", b"nosniff")
JSON: Headers = [(b"content-type", b"application/json"), _NO_STORE, _NO_SNIFF]
TEXT: Headers = [(b"content-type", b"text/plain; charset=utf-8"), _NO_STORE, _NO_SNIFF]
METRICS: Headers = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), _NO_STORE]
STREAM: Headers = [(b"content-type", b"text/event-stream; charset=utf-8"), _NO_STORE, (b"x-accel-buffering", b"no")]


class Gone(Exception):  # noqa: N818  it is no error
    """The client went away: nobody reads an answer."""


class Request:
    """What was asked, and where to answer."""

    __slots__ = ("headers", "method", "path", "query", "receive", "send", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.receive = receive
        self.send = send
        self.status = 0

    async def answer(self, status: int, body: bytes = b"", headers: Headers = JSON) -> None:
        """Answer with everything at once."""
        self.status = status
        # An answer of 204 has neither.
        lines = [] if status == 204 else [*headers, (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": status, "headers": lines})
        await self.send({"type": "http.response.body", "body": body})

    async def refuse(self, error: RequestError) -> None:
        """Answer with an error."""
        lines = [*JSON]
        if error.retry_after_seconds is not None:
            lines.append((b"retry-after", b"%d" % error.retry_after_seconds))
        if error.status == 401:
            lines.append((b"www-authenticate", b'Bearer realm="tesk listener"'))
        problems = error.problems if isinstance(error, BadRequest) else ()
        await self.answer(error.status, messages.error(error.status, error.title, error.detail, problems), lines)

    async def body(self, most_bytes: int) -> bytes:
        """Return the body. Raises TooLarge as soon as that is known, BadRequest for one that does not come, Gone."""
        length = self.headers.get(b"content-length", b"0")
        if len(length) > 12 or int(length) > most_bytes:
            raise TooLarge(f"the body is larger than {most_bytes} bytes")
        task = asyncio.current_task()
        assert task is not None
        late: list[bool] = []
        # What `asyncio.timeout` does, at a quarter of its cost: that is a twentieth of all a callback costs.
        timer = asyncio.get_running_loop().call_later(_BODY_SECONDS, lambda: late.append(task.cancel()))
        try:
            return await self._whole(most_bytes)
        except asyncio.CancelledError:
            if late and task.uncancel() <= 0:
                raise BadRequest(f"the body did not come within {_BODY_SECONDS:g} s") from None
            raise
        finally:
            timer.cancel()

    async def _whole(self, most_bytes: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            parts.append(message["body"])
            size += len(parts[-1])
            if size > most_bytes:
                raise TooLarge(f"the body is larger than {most_bytes} bytes")
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read(self, kind: type[T], most_bytes: int) -> T:
        """Return the body as what it should be; an empty one has the defaults. Raises BadRequest, TooLarge, Gone."""
        raw = await self.body(most_bytes)
        try:
            return msgspec.json.decode(raw.strip() or b"{}", type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadRequest(f"the body is not what is expected here: {error}") from error

    async def until_gone(self) -> None:
        """Return when the client has gone away. The body has been read."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
