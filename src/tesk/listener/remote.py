"""A client of a listener that runs elsewhere: one stream for all that is waited for, over connections that break."""

import contextlib
import ssl
from collections.abc import AsyncGenerator, Iterable
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from tesk import __version__
from tesk.client.address import parse
from tesk.client.answers import error_of
from tesk.client.ends import GAP, moved
from tesk.client.http1 import Request, Response
from tesk.client.patience import Patience
from tesk.client.sent import Sent
from tesk.client.streams import Streams
from tesk.client.subscription import Subscription
from tesk.errors import EventsMissed, StrangeAnswer
from tesk.tes.state import TERMINAL
from tesk.tes.told import Told

T = TypeVar("T", bound=Struct)

_PATIENT = Patience(busy=600.0, gone=600.0)
"""A listener that begins anew has lost nothing: it is worth waiting for."""
_WAIT_SECONDS = 30


class Subscribed(Struct, frozen=True):
    """A subscription: the callback URL for tasks, and the token to read what is told of them."""

    id: str
    callback_url: str
    token: str


class Remote:
    """A listener at `url`, such as http://127.0.0.1:8010. `token` is the listener's, or a subscription's.

    Each verb raises Unreachable where no answer comes, and the RequestError of the status where the listener says no.
    """

    def __init__(self, url: str, *, token: str = "", tls: ssl.SSLContext | None = None) -> None:
        address = parse(url, token or None)
        self._origin, self._root = address.origin, address.root
        self._streams = Streams(address.origin, tls)
        headers = (("Accept", "application/json"), ("User-Agent", f"tesk/{__version__}"))
        self._headers = headers + ((("Authorization", address.authorization),) if address.authorization else ())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._streams.close()

    async def subscribe(self, *, server: str = "", server_token: str = "") -> Subscribed:
        """Make a subscription. `server` is the TES server to ask for tasks of which nothing comes for a while."""
        body = msgspec.json.encode({"server": server, "server_token": server_token})
        return self._read(await self._ask("POST", "/subscriptions", body), Subscribed)

    async def unsubscribe(self, subscription: str) -> None:
        """End a subscription; what was heard by it is forgotten."""
        await self._ask("DELETE", f"/subscriptions/{quote(subscription, safe='')}")

    async def state(self, task_id: str) -> Told:
        """Return what was told of a task last; UNKNOWN where that is nothing."""
        return self._read(await self._ask("GET", f"/tasks/{quote(task_id, safe='')}"), Told)

    async def ended(self, task_id: str) -> Told:
        """Return the end of a task, when it has come."""
        while True:
            answer = await self._ask("GET", f"/tasks/{quote(task_id, safe='')}?wait={_WAIT_SECONDS}")
            told = self._read(answer, Told)
            if told.state in TERMINAL:
                return told

    async def ends(self, task_ids: Iterable[str]) -> AsyncGenerator[Told]:
        """Yield the end of each task as it comes, on one connection; of those that have ended at once."""
        left = set(task_ids)
        while left:
            async with contextlib.aclosing(self._follow(left, "0", ends_only=True)) as stream:
                async for sent in stream:
                    if sent.kind == GAP:
                        break  # a stream from the beginning tells all ends first
                    told = _told(sent)
                    if told is not None and told.id in left:
                        left.discard(told.id)
                        yield told
                    if not left:
                        return

    async def moves(
        self, *, task_ids: Iterable[str] = (), ends_only: bool = False, after: str = ""
    ) -> AsyncGenerator[Told]:
        """Yield what is told, as it comes, for ever. `after` "0": from the beginning; "": from now on.

        Raises EventsMissed where some were not kept as long as this was away: ask for the states of your tasks, and begin anew.
        """
        async with contextlib.aclosing(self._follow(task_ids, after, ends_only=ends_only)) as stream:
            async for sent in stream:
                if sent.kind == GAP:
                    raise EventsMissed(f"{self._origin} does not keep some moves any more: {sent.data}")
                if (told := _told(sent)) is not None:
                    yield told

    def _follow(self, task_ids: Iterable[str], after: str, *, ends_only: bool) -> AsyncGenerator[Sent]:
        body = msgspec.json.encode({"tasks": list(task_ids), "ends": ends_only, "after": after})
        return self._streams.follow(Subscription(self._origin, self._request("POST", "/events", body), _PATIENT))

    async def _ask(self, method: str, target: str, body: bytes = b"") -> Response:
        answer = await self._streams.send(self._request(method, target, body))
        if answer.status >= 300:
            raise error_of(self._origin, answer)
        return answer

    def _request(self, method: str, target: str, body: bytes) -> Request:
        return Request(method, self._root + target, self._headers, body)

    def _read(self, answer: Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except msgspec.MsgspecError as error:
            raise StrangeAnswer(f"{self._origin} answered with something else than a listener does: {error}") from error


def _told(sent: Sent) -> Told | None:
    """Return the move that an event tells of. Raises StrangeAnswer."""
    move = moved(sent)
    try:
        return msgspec.convert(move, Told) if move else None
    except msgspec.ValidationError as error:
        raise StrangeAnswer(f"an event that a listener does not send: {error}") from error
