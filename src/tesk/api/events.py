"""The moves of tasks as they happen, as server-sent events: `/tesk/v1/events`, and `/tesk/v1/tasks/{id}/events` of one."""

import asyncio
import contextlib
from collections.abc import Callable

from msgspec import Struct, structs

from tesk import operations
from tesk.api.channel import Follower
from tesk.api.create import require_json
from tesk.api.tail import Tail, beat, place_at, sent
from tesk.caller import LOCAL
from tesk.errors import Unavailable
from tesk.http.deadline import Deadlines
from tesk.http.exchange import Exchange, Headers, body_in_time
from tesk.settings import ServerSettings
from tesk.store.store import Store
from tesk.telemetry.metrics import Metrics
from tesk.tes import messages
from tesk.tes.event import Event
from tesk.tes.following import Wanted, wanted, wanted_of
from tesk.tes.place import Place
from tesk.tes.state import TERMINAL
from tesk.tes.times import rfc3339
from tesk.tes.view import View

TASK_EVENTS_MOST = 1000
"""Events of one task that are shown; a task has a handful for each attempt."""
_END = b"event: end\ndata: {}\n\n"
_BEGIN = b"retry: 1000\n\n"
_EVENT_STREAM = b"text/event-stream"
_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),
]


class TaskEvent(Struct, frozen=True, kw_only=True):
    """One move. `position` is its place among all events of the server, as in the `id` of a stream; `sequence` among the task's own."""

    position: int
    sequence: int
    previous_state: str | None
    state: str
    attempt: int
    time: str


class TaskEvents(Struct, frozen=True, kw_only=True):
    """All moves of one task."""

    events: tuple[TaskEvent, ...]


class Events:
    """Serves events of one store. `closing` ends all streams: clients come again."""

    def __init__(self, store: Store, closing: asyncio.Event, settings: ServerSettings, metrics: Metrics) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._tail = Tail(store, closing, settings)
        self._deadlines = Deadlines()
        metrics.follows(lambda: len(self._tail))

    async def some(self, exchange: Exchange) -> None:
        """Stream what a query asks for."""
        await self._asked(exchange, *wanted(exchange.scope["query_string"]))

    async def named(self, exchange: Exchange) -> None:
        """Stream what a body asks for: ten thousand ids fit no URL."""
        require_json(exchange.headers.get(b"content-type"), exchange.headers.get(b"content-encoding"), what="this is")
        body = await body_in_time(self._deadlines, exchange, self._settings.body_limit_bytes)
        await self._asked(exchange, *wanted_of(body))

    async def task(self, exchange: Exchange) -> None:
        """Show one task's events; as a stream, where that is accepted, until the task has ended."""
        task_id: str = exchange.scope["path_params"]["id"]
        caller = exchange.caller or LOCAL
        task = await operations.find_task(self._store, caller, task_id, View.MINIMAL)
        if _EVENT_STREAM not in exchange.headers.get(b"accept", b""):
            events = await self._store.events(after=0, limit=TASK_EVENTS_MOST, task_ids=(task_id,))
            await exchange.answer(200, messages.encode(TaskEvents(events=tuple(map(shown, events)))))
            return
        last = _last(exchange)
        after = 0 if last is None or await self._is_lost(last, await self._store.span()) else last.position
        if task.state in TERMINAL:
            past = await self._store.events(after=after, limit=TASK_EVENTS_MOST, task_ids=(task_id,))
            await exchange.answer(200, b"".join((_BEGIN, *map(sent, past), _END)), _HEADERS)
            return
        which = Wanted(tasks=frozenset((task_id,)))
        await self._stream(exchange, await self._tail.join(which, after, self._cut(exchange), to_the_end=True))

    async def _asked(self, exchange: Exchange, which: Wanted, text: str) -> None:
        caller = exchange.caller or LOCAL
        which = which if caller.admin else structs.replace(which, owner=caller.name)
        # Who was cut off says it by the header, beside what they asked for at first.
        place = _last(exchange) or Place.read(text, "after")
        if place is None:
            follower = await self._tail.join(which, None, self._cut(exchange))
            # Else who is cut off before anything happens would not know where they were.
            await self._stream(exchange, follower, beat(self._tail.place))
            return
        oldest, newest = span = await self._store.span()
        after, gap = place.position, b""
        if lost := await self._is_lost(place, span):
            now = await place_at(self._store, newest)
            after, gap = now.position, b"id: %b\n" % str(now).encode()
        if lost or 0 < after < oldest - 1:
            gap += b'event: gap\ndata: {"after":%d,"oldest":%d}\n\n' % (place.position, oldest)
        await self._stream(exchange, await self._tail.join(which, after, self._cut(exchange)), gap)

    async def _is_lost(self, place: Place, span: tuple[int, int]) -> bool:
        """Say whether a place is none of this database: it was put back from a backup, and gives its positions again."""
        oldest, newest = span
        if place.position > newest:
            return True
        return bool(place.proof) and place.position >= oldest and await place_at(self._store, place.position) != place

    async def _stream(self, exchange: Exchange, follower: Follower, first: bytes = b"") -> None:
        gone = asyncio.create_task(exchange.gone())
        gone.add_done_callback(lambda _: follower.leave())
        clock, send = asyncio.get_running_loop().time, exchange.send
        try:
            await exchange.begin(_HEADERS)
            await send({"type": "http.response.body", "body": _BEGIN + first, "more_body": True})
            async with contextlib.aclosing(self._tail.follow(follower)) as pieces:
                async for piece in pieces:
                    follower.sends_since = follower.sent = clock()
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    follower.sends_since = None
            end = _END if follower.ended and follower.to_the_end else b""
            await send({"type": "http.response.body", "body": end})
        except Unavailable:
            exchange.cut()
        finally:
            self._tail.leave(follower)
            gone.cancel()

    def _cut(self, exchange: Exchange) -> Callable[[], None]:
        def cut() -> None:
            self._metrics.dropped()
            exchange.cut()

        return cut


def shown(event: Event) -> TaskEvent:
    """Return an event as it is shown of one task."""
    return TaskEvent(
        position=event.position,
        sequence=event.sequence,
        previous_state=event.previous_state,
        state=event.state,
        attempt=event.attempt,
        time=rfc3339(event.time),
    )


def _last(exchange: Exchange) -> Place | None:
    return Place.read(exchange.headers.get(b"last-event-id", b"").decode("latin-1"), "Last-Event-ID")
