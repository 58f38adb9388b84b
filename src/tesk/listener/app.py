"""The listener's HTTP: callbacks in; states, waits and streams out. An ASGI application without a framework."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Generator, Sequence
from functools import partial
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct
from starlette.types import Receive, Scope, Send

from tesk.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    Overloaded,
    RequestError,
    Unauthenticated,
    Unavailable,
)
from tesk.http.descriptors import streams_most
from tesk.http.exchange import BUG, Answer, Disconnected, Exchange, Headers, refusal
from tesk.listener.door import READ, SIGNED_HEADERS, TELL, Door, digest, new_token
from tesk.listener.feed import Feed, Sought
from tesk.listener.heard import Verdict, check_id, read, unheard
from tesk.listener.ledger import SIGNED, Ledger, Pass, Subscription
from tesk.listener.request import CALLBACK_MOST_BYTES, CHALLENGE, IDS_MOST_BYTES, METRICS, TEXT, Bodies
from tesk.listener.servers import Servers
from tesk.listener.stream import stream
from tesk.listener.taking import Taking
from tesk.settings import ListenerSettings
from tesk.tes import messages
from tesk.tes.following import position

_IDS_MOST = 10_000
_DATABASE_SECONDS = 3.0

_BUG = refusal(BUG)
_TAKEN: tuple[int, Headers, bytes] = (204, [], b"")

encode = msgspec.json.Encoder().encode


class _NewSubscription(Struct, frozen=True, forbid_unknown_fields=True):
    server: str = ""
    server_token: str = ""


class _Tasks(Struct, frozen=True, forbid_unknown_fields=True):
    tasks: tuple[str, ...]


class _Following(Struct, frozen=True, forbid_unknown_fields=True):
    tasks: tuple[str, ...] = ()
    ends: bool = False
    after: str = ""


class _Made(Struct, frozen=True):
    id: str
    callback_url: str
    token: str


class App:
    """See docs/listener.md for the routes. `url` gives the address under which TES servers reach it."""

    def __init__(
        self,
        ledger: Ledger,
        door: Door,
        feed: Feed,
        taking: Taking,
        settings: ListenerSettings,
        *,
        servers: Servers,
        url: Callable[[], str],
        metrics: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._door = door
        self._feed = feed
        self._taking = taking
        self._servers = servers
        self._settings = settings
        self._url = url
        self._metrics = metrics
        self._clock = clock
        self._bodies = Bodies()
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Exchange(scope, receive, send)
        try:
            await self._serve(request)
        except RequestError as error:
            await request.refuse(error, CHALLENGE if isinstance(error, Unauthenticated) else None)
        except Disconnected:
            request.status = 499
        finally:
            if not request.status:
                # We have a bug, or are canceled: the exception goes on into the log, the client gets an answer.
                await request.refuse(BUG)

    async def _serve(self, request: Exchange) -> None:
        _, word, rest = (*request.scope["path"].split("/", 2), "", "")[:3]
        match request.scope["method"], word, rest:
            case "POST", "webhook", token:
                await self._take(request, token or None)
            case "GET", "livez" | "readyz" | "metrics", "":
                await self._health(request, word)
            case _:
                await self._asked(request, word, rest)

    async def _asked(self, request: Exchange, word: str, rest: str) -> None:
        # Callbacks come under names that are not ours to know; all else is asked by a client.
        method, path = request.scope["method"], request.scope["path"]
        if (forbidden := self._door.page.refusal(request.headers, method)) is not None:
            raise forbidden
        match method, word, rest:
            case "GET", "webhook", task_id if task_id:
                await self._plain_state(request, task_id)
            case "GET", "tasks", task_id if task_id:
                await self._task(request, task_id)
            case "POST", "tasks", "":
                await self._expect(request)
            case "GET", "events", "":
                await self._follow(request, _following(_query(request, "task", "ends", "after")))
            case "POST", "events", "":
                await self._follow(request, await self._bodies.read(request, _Following, IDS_MOST_BYTES))
            case "POST", "subscriptions", "":
                await self._subscribe(request)
            case "DELETE", "subscriptions", name if name:
                await self._unsubscribe(request, name)
            case _, "webhook" | "tasks" | "events" | "subscriptions" | "livez" | "readyz" | "metrics", _:
                said = f"{path[:200]} is not asked with {method[:20]}"
                await request.answer(405, messages.error(405, "Method not allowed", said))
            case _:
                raise NotFound(f"there is no {path[:200]}")

    # -- callbacks -------------------------------------------------------------------------------------------------------

    async def _take(self, request: Exchange, token: str | None) -> None:
        if b"origin" in request.headers:
            raise Forbidden("web pages may not use this listener")
        body = await self._bodies.raw(request)
        teller = await self._door.teller(token, request, body)
        await self._taking.take(read(body, teller.subscription, self._clock()), asks=teller.asks)
        await request.answer(204, b"", [])
        names = [name for name in SIGNED_HEADERS if name in request.headers]
        if names or token is not None:
            request.goes_again(partial(self._take_again, token, names), names)

    def _take_again(
        self, token: str | None, names: Sequence[bytes], body: bytes, values: tuple[bytes, ...], answer: Answer
    ) -> bool:
        """Take a callback whose head is, but for its signature, that of one that was believed. False: it goes the long way."""
        if len(body) > CALLBACK_MOST_BYTES:
            return False
        try:
            teller = self._door.teller_again(token, dict(zip(names, values, strict=True)), body)
            if teller is None:
                return False
            taken = self._taking.take(read(body, teller.subscription, self._clock()), asks=teller.asks)
        except RequestError:
            return False  # the long way says what is wrong
        taken.add_done_callback(partial(_answer_taken, answer))
        return True

    # -- states and waits ------------------------------------------------------------------------------------------------

    async def _plain_state(self, request: Exchange, task_id: str) -> None:
        """As the callback branch of cwl-tes asks."""
        reader = await self._door.reader(request)
        found = await self._ledger.get(task_id, _subscription(reader))
        if found is None:
            raise NotFound(f"nothing was heard of a task {task_id[:256]}")
        await request.answer(200, found.state.encode(), TEXT)

    async def _task(self, request: Exchange, task_id: str) -> None:
        reader = await self._door.reader(request)
        check_id(task_id)
        given = _query(request, "wait", "state")
        seconds = self._seconds(given)
        known = (given.get("state") or [""])[0]
        found = await self._ledger.get(task_id, _subscription(reader)) or unheard(task_id)
        if seconds:
            if not found.sequence:
                await self._expected(reader, (task_id,))
            with self._held():
                found = await self._feed.next(task_id, _subscription(reader), seconds, known)
        await request.answer(200, encode(found))

    async def _expect(self, request: Exchange) -> None:
        reader = await self._door.reader(request)
        asked = await self._bodies.read(request, _Tasks, IDS_MOST_BYTES)
        await self._expected(reader, _checked(asked.tasks))
        await request.answer(204, b"", [])

    async def _expected(self, reader: Pass | None, task_ids: Sequence[str]) -> None:
        """Tasks of which nothing comes at all are asked for, too."""
        subscription, asks = (
            (SIGNED, bool(self._settings.server)) if reader is None else (reader.subscription, reader.asks)
        )
        now = self._clock()
        if asks:
            await self._ledger.expect(subscription, task_ids, now, now + self._settings.quiet_seconds)

    def _seconds(self, given: dict[str, list[str]]) -> float:
        text = (given.get("wait") or ["0"])[0]
        if not (text.isascii() and text.isdecimal() and len(text) < 6):
            raise BadRequest("wait: must be a whole number of seconds")
        return min(float(text), self._settings.wait_limit_seconds)

    async def _follow(self, request: Exchange, asked: _Following) -> None:
        reader = await self._door.reader(request)
        last = request.headers.get(b"last-event-id", b"").decode("latin-1")
        after = position(last, "Last-Event-ID") if last else position(asked.after, "after")
        ids = _checked(asked.tasks)
        if ids:
            await self._expected(reader, ids)
        sought = Sought(_subscription(reader), frozenset(ids), asked.ends)
        with self._held():
            await stream(request, self._feed, self._ledger, self._settings, sought, after=after)

    @contextlib.contextmanager
    def _held(self) -> Generator[None]:
        """Hold a connection open. Raises Overloaded: who waits keeps no callback out."""
        if self._open >= streams_most():
            raise Overloaded(
                f"{self._open} wait here already, two thirds of the connections that this process may have",
                retry_after_seconds=10,
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    # -- subscriptions ---------------------------------------------------------------------------------------------------

    async def _subscribe(self, request: Exchange) -> None:
        if await self._door.reader(request) is not None:
            raise Forbidden("a subscription's own token makes no other subscriptions: use the listener's")
        asked = await self._bodies.read(request, _NewSubscription, CALLBACK_MOST_BYTES)
        name = uuid.uuid4().hex
        if asked.server:
            await self._servers.check(asked.server, asked.server_token)
        tell, own = new_token(), new_token()
        await self._ledger.subscribe(
            Subscription(id=name, server=asked.server, server_token=asked.server_token),
            ((digest(tell), TELL), (digest(own), READ)),
            self._clock(),
        )
        await request.answer(201, encode(_Made(name, f"{self._url()}/webhook/{tell}", own)))

    async def _unsubscribe(self, request: Exchange, name: str) -> None:
        reader = await self._door.reader(request)
        if reader is not None and reader.subscription != name:
            raise NotFound(f"there is no subscription {name[:100]}")
        if not await self._ledger.unsubscribe(name):
            raise NotFound(f"there is no subscription {name[:100]}")
        self._door.forget()
        await request.answer(204, b"", [])

    # -- for whoever watches ---------------------------------------------------------------------------------------------

    async def _health(self, request: Exchange, word: str) -> None:
        self._door.check_stranger(request)
        if word == "metrics":
            await request.answer(200, self._metrics().encode(), METRICS)
            return
        if word == "readyz":
            try:
                async with asyncio.timeout(_DATABASE_SECONDS):
                    await self._ledger.ping()
            except (Unavailable, TimeoutError) as error:
                raise Unavailable("the database does not answer", retry_after_seconds=5) from error
        await request.answer(200, b'{"status":"ok"}')


def _answer_taken(answer: Answer, taken: asyncio.Future[Verdict]) -> None:
    said = _BUG
    try:
        taken.result()
    except RequestError as error:
        said = refusal(error)
    else:
        said = _TAKEN
    finally:
        answer(*said)


def _subscription(reader: Pass | None) -> str | None:
    return None if reader is None else reader.subscription


def _query(request: Exchange, *names: str) -> dict[str, list[str]]:
    query: bytes = request.scope["query_string"]
    try:
        given = parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_IDS_MOST)
    except ValueError as error:
        raise BadRequest(f"the query has more than {_IDS_MOST} parameters: send ids in the body of a POST") from error
    for name in given:
        if name not in names:
            raise BadRequest(f"there is no parameter {name[:100]!r} here; there are {', '.join(names)}")
    return given


def _following(given: dict[str, list[str]]) -> _Following:
    ends = (given.get("ends") or ["false"])[-1]
    if ends not in ("true", "false"):
        raise BadRequest("ends: must be true or false")
    return _Following(tuple(given.get("task", ())), ends == "true", (given.get("after") or [""])[-1])


def _checked(task_ids: Sequence[str]) -> tuple[str, ...]:
    if len(task_ids) > _IDS_MOST:
        raise BadRequest(f"tasks: at most {_IDS_MOST} ids, not {len(task_ids)}")
    for task_id in task_ids:
        check_id(task_id)
    return tuple(dict.fromkeys(task_ids))
