"""Requests over asyncio's streams, kept open between requests."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable

from tesk.client.calls import Call, Pause, T
from tesk.client.http1 import Origin, Reader, Request, Response, render
from tesk.client.sent import Sent
from tesk.client.subscription import Subscription, Trouble
from tesk.errors import StrangeAnswer, Unreachable

CONNECT_SECONDS = 10.0

Find = Callable[[Origin], Awaitable[list[str]]]
"""Returns the addresses of a server that may be called. Raises OSError, which says why, where there is none."""

_Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Streams:
    """Connections to one server, for one event loop.

    `find` says where it may be called; without it the host's name does. An answer larger than `answer_most_bytes` is none.
    """

    def __init__(
        self,
        origin: Origin,
        tls: ssl.SSLContext | None = None,
        *,
        find: Find | None = None,
        answer_most_bytes: int | None = None,
    ) -> None:
        self._origin = origin
        self._find = find
        self._answer_most_bytes = answer_most_bytes
        self._tls = (tls or ssl.create_default_context()) if origin.tls else None
        self._idle: list[_Pair] = []

    async def drive(self, call: Call[T]) -> T:
        """Run a call to its end."""
        try:
            step = next(call)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = call.send(None)
                    continue
                try:
                    answer = await self.send(step)
                except Unreachable as error:
                    step = call.throw(error)
                else:
                    step = call.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value

    async def send(self, request: Request) -> Response:
        """Return the answer to one request. Raises Unreachable, StrangeAnswer."""
        incoming, outgoing = self._take() or await self._connect()
        reader = Reader(self._origin, request.heard, self._answer_most_bytes)
        try:
            outgoing.write(render(self._origin, request))
            await asyncio.wait_for(outgoing.drain(), request.timeout_seconds)
            while not reader.done:
                reader.feed(await asyncio.wait_for(incoming.read(65536), request.timeout_seconds))
        except OSError as error:
            said = "did not answer in time" if isinstance(error, TimeoutError) else f"broke the connection: {error}"
            raise Unreachable(f"{self._origin} {said}", sent=True) from error
        finally:
            if reader.reusable:
                self._idle.append((incoming, outgoing))
            else:
                outgoing.close()
        return reader.response()

    async def follow(self, subscription: Subscription) -> AsyncGenerator[Sent]:
        """Yield the events of a stream as they come. Raises what `Subscription.broke` raises."""
        while True:
            trouble: Trouble | None
            try:
                incoming, outgoing = await self._connect()
                pieces: list[bytes] = []
                reader = Reader(self._origin, pieces.append)
                try:
                    outgoing.write(render(self._origin, subscription.request()))
                    while not reader.done:
                        reader.feed(await asyncio.wait_for(incoming.read(65536), subscription.silence_seconds))
                        data = b"".join(pieces)
                        pieces.clear()
                        for sent in subscription.heard(data) if data else ():
                            yield sent
                except TimeoutError as error:
                    raise subscription.silent() from error
                except OSError as error:
                    raise Unreachable(f"{self._origin} broke the connection: {error}", sent=True) from error
                finally:
                    outgoing.close()
                trouble = subscription.ended(reader.response())
            except (Unreachable, StrangeAnswer) as error:
                trouble = error
            if trouble is None:
                return
            await asyncio.sleep(subscription.broke(trouble))

    async def close(self) -> None:
        """Close what is open."""
        while self._idle:
            _, outgoing = self._idle.pop()
            outgoing.close()
            try:
                await outgoing.wait_closed()
            except OSError:
                continue  # the server was quicker

    def _take(self) -> _Pair | None:
        """Return an idle connection that the server has not closed."""
        while self._idle:
            incoming, outgoing = self._idle.pop()
            if not incoming.at_eof() and not outgoing.is_closing():
                return incoming, outgoing
            outgoing.close()
        return None

    async def _connect(self) -> _Pair:
        origin = self._origin
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                places = [origin.host] if self._find is None else await self._find(origin)
                for place in places[:-1]:
                    with contextlib.suppress(OSError):
                        return await self._open(place)
                return await self._open(places[-1])
        except (OSError, UnicodeError) as error:  # TimeoutError is one; a name that no resolver takes is another
            raise Unreachable(f"no connection to {origin}: {error or 'no answer in time'}", sent=False) from error

    async def _open(self, place: str) -> _Pair:
        name = self._origin.host if self._tls else None
        return await asyncio.open_connection(place, self._origin.port, ssl=self._tls, server_hostname=name)
