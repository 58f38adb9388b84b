"""One request and its answer, without what a framework would put around them."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from tesk.caller import Caller
from tesk.errors import BadRequest, RequestError, TooLarge
from tesk.http.deadline import Deadlines
from tesk.tes import messages

Headers = list[tuple[bytes, bytes]]

OFFER: Final = "tesk.offer"
"""Where in its scope a connection that knows short ways takes one."""

CUT: Final = "tesk.cut"
"""Where in its scope a connection says how it is closed."""

ABORT: Final = "tesk.abort"
"""Where in its scope a connection says how it is ended with what was not taken yet."""

JSON: Final[Headers] = [
    (b"content-type", b"application/json"),
    # Whose task it is depends on who asks, and tasks move.
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]


BODY_SETTING: Final = "server.body_limit_bytes"
"""What bounds a body, where nothing else is said."""

_BODY_SECONDS = 60.0
"""How long a body may be on its way."""

BODILESS: Final = (204, 304)
"""Answers of these kinds have no body, and say nothing of its length."""

BUG: Final = RequestError("the server has a fault; its log says which")
"""What is answered when we have a bug: the exception goes into the log."""

Answer = Callable[[int, Headers, bytes], object]
"""Answers a request that went the short way: status, headers and body."""

Again = Callable[[bytes, tuple[bytes, ...], Answer], bool]
"""Takes the body of another request with the same head, and the values of the headers that may differ in it.

It answers later, or returns False: that one goes the long way.
"""


def refusal(error: RequestError) -> tuple[int, Headers, bytes]:
    """Return what an error is answered with: status, headers and body."""
    headers = JSON
    if error.retry_after_seconds is not None:
        headers = [*JSON, (b"retry-after", b"%d" % error.retry_after_seconds)]
    problems = error.problems if isinstance(error, BadRequest) else ()
    return error.status, headers, messages.error(error.status, error.title, error.detail, problems)


class Disconnected(Exception):  # noqa: N818  it is no error
    """The client went away: nobody reads an answer."""


class Exchange:
    """What was asked, by whom, and what was answered."""

    __slots__ = ("begun", "caller", "cors", "headers", "label", "receive", "scope", "send", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.cors: Headers = []
        """What a browser is told of the page that asked."""
        self.caller: Caller | None = None
        self.label = "other"
        """The route, for the metrics."""
        self.status = 0
        self.begun: float | None = None
        """When an answer began that goes on for as long as the client stays; by `time.perf_counter`."""

    async def answer(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        """Answer; JSON unless `headers` say otherwise."""
        self.status = status
        lines = [*(JSON if headers is None else headers), *self.cors]
        if status not in BODILESS:
            lines.append((b"content-length", b"%d" % len(body)))
        await self.send({"type": "http.response.start", "status": status, "headers": lines})
        await self.send({"type": "http.response.body", "body": body})

    async def begin(self, headers: Headers) -> None:
        """Begin an answer that goes on for as long as the client stays."""
        self.status = 200
        await self.send({"type": "http.response.start", "status": 200, "headers": [*headers, *self.cors]})
        self.begun = time.perf_counter()

    async def refuse(self, error: RequestError, headers: Headers | None = None) -> None:
        """Answer with an error."""
        status, lines, body = refusal(error)
        await self.answer(status, body, [*lines, *(headers or ())])

    def goes_again(self, again: Again, names: Sequence[bytes] = ()) -> None:
        """Offer a short way to requests with this very head on this connection: what was found of the head still holds.

        Headers of these `names`, in lower case, may have other values then, if each stands there once.
        """
        offer: Callable[[Again, Sequence[bytes]], None] | None = self.scope.get(OFFER)
        if offer is not None and not self.cors:
            offer(again, names)

    async def body(self, limit_bytes: int, setting: str = BODY_SETTING) -> bytes:
        """Return the body. Raises TooLarge, which names the setting, as soon as that is known; Disconnected."""
        length = self.headers.get(b"content-length")
        if length is not None and int(length) > limit_bytes:
            raise _too_large(limit_bytes, setting)
        message = await self._next()
        body: bytes = message["body"]
        if not message["more_body"] and len(body) <= limit_bytes:
            return body
        parts, size = [body], len(body)
        while message["more_body"] and size <= limit_bytes:
            message = await self._next()
            parts.append(message["body"])
            size += len(parts[-1])
        if size > limit_bytes:
            raise _too_large(limit_bytes, setting)
        return b"".join(parts)

    async def _next(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        return message

    async def break_off(self) -> None:
        """End an answer so that the client sees that it is not whole: it has no last piece."""
        close: Callable[[], None] | None = self.scope.get(CUT)
        if close is None:
            await self.send({"type": "http.response.body", "body": b""})
        else:
            close()
            await self.gone()

    def cut(self) -> None:
        """End the connection, whatever was not taken yet: the client sees that the answer is not whole."""
        abort: Callable[[], None] | None = self.scope.get(ABORT)
        if abort is not None:
            abort()

    async def gone(self) -> None:
        """Return when the client has gone away. The body has been read."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


async def body_in_time(
    deadlines: Deadlines, exchange: Exchange, limit_bytes: int, setting: str = BODY_SETTING
) -> bytes:
    """Return the body. Raises TooLarge, which names the setting, and BadRequest where it is too long on its way."""
    try:
        with deadlines.within(_BODY_SECONDS):
            return await exchange.body(limit_bytes, setting)
    except TimeoutError:
        raise BadRequest(f"the body did not come within {_BODY_SECONDS:g} s") from None


def _too_large(limit_bytes: int, setting: str) -> TooLarge:
    return TooLarge(f"the body is larger than {limit_bytes} bytes ({setting})")


Handler = Callable[[Exchange], Awaitable[None]]
"""Answers one exchange."""
