"""One reader of the durable events for everybody who follows them in this process.

A follower is a position. What is new is read once, encoded once, and kept for a while by the channels that want it; who
comes from further back, or does not keep up, reads the table by themselves until a channel has the rest.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from itertools import chain

from msgspec import json

from tesk.api.channel import Channel, Follower
from tesk.errors import Unavailable
from tesk.http.descriptors import streams_most
from tesk.settings import ServerSettings
from tesk.store.rows import Labels
from tesk.store.store import Store
from tesk.tes.event import Event
from tesk.tes.following import Wanted
from tesk.tes.place import Place
from tesk.tes.state import TERMINAL
from tesk.tes.times import rfc3339
from tesk.tes.told import Told

_log = logging.getLogger(__name__)

_PAGE = 256
_TASKS_AT_ONCE = 500
_READS_AT_ONCE = 4
"""Pages that are read for those who are behind: when all come back at once, others read, too."""
_GATHER_SECONDS = 0.02
"""How long events are gathered after one came: many then cost as much as one."""
_SOONEST_SECONDS, _LATEST_SECONDS = 0.05, 1.0
"""How often at least is looked: one transaction of PostgreSQL may keep those after it from being seen for a moment."""
_AGAIN_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_UNKNOWN = Labels()
_ALIVE = b":\n\n"


def encoded(event: Event) -> bytes:
    """Return the data of an event as all are told of it."""
    return json.encode(
        Told(
            id=event.task_id,
            state=event.state,
            time=rfc3339(event.time),
            sequence=event.sequence,
            previous_state=event.previous_state,
            attempt=event.attempt,
        )
    )


def sent(event: Event, *, numbered: bool = True) -> bytes:
    """Return one event of a stream. Without its number, who is cut off behind it comes back from further before."""
    number = b"id: %b\n" % str(Place.of(event)).encode() if numbered else b""
    return b"%bevent: state\ndata: %b\n\n" % (number, encoded(event))


def beat(place: Place) -> bytes:
    """Return what moves `Last-Event-ID` on and tells of nothing."""
    return b"id: %b\n\n" % str(place).encode()


async def place_at(store: Store, position: int) -> Place:
    """Return the place behind the event at a position as it is now, or without a proof where none is there."""
    found = await store.events(after=position - 1, limit=1)
    return Place.of(found[0]) if found and found[0].position == position else Place(position)


class Tail:
    """Reads on for as long as anybody follows. `closing` ends all of it."""

    def __init__(self, store: Store, closing: asyncio.Event, settings: ServerSettings) -> None:
        self._store = store
        self._closing = closing
        self._limit = settings.streams_limit
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._slow_seconds = settings.slow_seconds
        self._opening = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self.place = Place(0)
        """How far all is read."""
        self._channels: dict[Wanted, Channel] = {}
        self._by_task: defaultdict[str, set[Channel]] = defaultdict(set)
        self._by_owner: defaultdict[str, set[Channel]] = defaultdict(set)
        self._by_label = 0
        self._following = 0
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)

    def __len__(self) -> int:
        return self._following

    async def join(
        self, wanted: Wanted, after: int | None, cut: Callable[[], None], *, to_the_end: bool = False
    ) -> Follower:
        """Begin after a position, or from now on; it may be over with the end of a task. Raises Unavailable for too many.

        `cut` is called where what was sent is not taken for too long.
        """
        most = min(self._limit, streams_most())
        if self._following >= most:
            raise Unavailable(
                f"{most} streams of events are open here already (server.streams_limit, or half of the open files that the "
                "system allows this server)",
                retry_after_seconds=10,
            )
        async with self._opening:
            if self._reading is None or self._reading.done():
                _, newest = await self._store.span()
                self.place = await place_at(self._store, newest)
                self._reading = asyncio.create_task(self._read_on())
                self._reading.add_done_callback(_report)
                looking = asyncio.create_task(self._look_on())
                self._reading.add_done_callback(lambda _: looking.cancel())
        channel = self._channels.get(wanted) or self._opened(wanted)
        follower = Follower(channel, self.place.position if after is None else after, cut, to_the_end=to_the_end)
        channel.followers.add(follower)
        self._following += 1
        return follower

    def leave(self, follower: Follower) -> None:
        """Stop following. Twice is once."""
        channel = follower.channel
        if follower not in channel.followers:
            return
        channel.followers.remove(follower)
        self._following -= 1
        if not channel.followers:
            self._closed(channel)

    def _opened(self, wanted: Wanted) -> Channel:
        channel = self._channels[wanted] = Channel(wanted, self.place.position)
        self._by_label += wanted.by_label
        for places, key in self._places(wanted):
            places[key].add(channel)
        return channel

    def _closed(self, channel: Channel) -> None:
        del self._channels[channel.wanted]
        self._by_label -= channel.wanted.by_label
        for places, key in self._places(channel.wanted):
            places[key].remove(channel)
            if not places[key]:
                del places[key]

    def _places(self, wanted: Wanted) -> Iterable[tuple[defaultdict[str, set[Channel]], str]]:
        if wanted.tasks:
            return [(self._by_task, task_id) for task_id in wanted.tasks]
        return [(self._by_owner, "" if wanted.owner is None else f"={wanted.owner}")]

    async def follow(self, follower: Follower) -> AsyncGenerator[bytes]:
        """Yield what a follower is to be sent, for ever or until it is over. Raises Unavailable."""
        while True:
            if follower.behind and not follower.over:
                async for piece in self._caught_up(follower):
                    yield piece
            elif not follower.behind and (text := follower.take()):
                yield text
            elif follower.over or (follower.ended and follower.to_the_end):
                return
            elif not await follower.news():
                # Who has read on by themselves may be before us for a moment.
                yield beat(self.place) if follower.position <= self.place.position else _ALIVE

    async def _look_on(self) -> None:
        """Look after those who hear nothing for long, and those who do not take what they are sent."""
        pause = min(_LOOK_SECONDS, self._heartbeat_seconds / 4, self._slow_seconds / 4)
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            for channel in self._channels.values():
                for follower in channel.followers:
                    follower.look(now, self._heartbeat_seconds, self._slow_seconds)

    # -- from further back ---------------------------------------------------------------------------------------------

    async def _caught_up(self, follower: Follower) -> AsyncGenerator[bytes]:
        """Yield what came since the follower's position, until its channel has the rest."""
        wanted = follower.channel.wanted
        named = sorted(wanted.tasks)
        while follower.behind and not follower.over:
            # Whatever the tail has read by now is there to be read here, too.
            end = self.place
            if len(named) > _TASKS_AT_ONCE:
                async for text in self._in_groups(follower, named, end):
                    yield text
                continue
            page = await self._page(follower.position, wanted, named or None)
            if text := await self._texts(page, follower):
                yield text
            reached = page[-1].position if page else 0
            follower.position = reached if len(page) == _PAGE else max(end.position, reached)

    async def _in_groups(self, follower: Follower, tasks: Sequence[str], end: Place) -> AsyncGenerator[bytes]:
        """Yield what there is up to a position, some tasks after the others: without numbers, but for one behind all of it."""
        for first in range(0, len(tasks), _TASKS_AT_ONCE):
            after = follower.position
            while page := await self._page(after, follower.channel.wanted, tasks[first : first + _TASKS_AT_ONCE]):
                after = page[-1].position
                if text := await self._texts(
                    [event for event in page if event.position <= end.position], follower, numbered=False
                ):
                    yield text
        follower.position = end.position
        yield beat(end)

    async def _page(self, after: int, wanted: Wanted, group: Sequence[str] | None) -> Sequence[Event]:
        async with self._reads:
            return await self._store.events(after=after, limit=_PAGE, owner=wanted.owner, task_ids=group)

    async def _texts(self, page: Sequence[Event], follower: Follower, *, numbered: bool = True) -> bytes:
        wanted = follower.channel.wanted
        labels = await self._labels(page) if page and wanted.by_label else {}
        fitting = [event for event in page if _fits(wanted, event, labels)]
        follower.ended = follower.ended or any(event.state in TERMINAL for event in fitting)
        return b"".join(sent(event, numbered=numbered) for event in fitting)

    async def _labels(self, page: Sequence[Event]) -> Mapping[str, Labels]:
        return await self._store.labels(list({event.task_id for event in page}))

    # -- at the end ----------------------------------------------------------------------------------------------------

    async def _read_on(self) -> None:
        pause = _SOONEST_SECONDS
        try:
            while self._channels and not self._closing.is_set():
                try:
                    page = await self._store.events(after=self.place.position, limit=_PAGE)
                    labels = await self._labels(page) if page and self._by_label else {}
                except Unavailable as error:
                    _log.warning("events are read again in %g s: %s", _AGAIN_SECONDS, error)
                    await asyncio.sleep(_AGAIN_SECONDS)
                    continue
                self._publish(page, labels)
                pause = _SOONEST_SECONDS if page else min(pause * 2, _LATEST_SECONDS)
                if len(page) < _PAGE:
                    await self._store.moved(pause)
                    await asyncio.sleep(_GATHER_SECONDS)
        finally:
            for channel in self._channels.values():
                for follower in channel.followers:
                    follower.leave()

    def _publish(self, page: Sequence[Event], labels: Mapping[str, Labels]) -> None:
        told: set[Channel] = set()
        if page:
            self.place = Place.of(page[-1])
        for event in page:
            text = b""
            for channel in chain(
                self._by_task.get(event.task_id, ()),
                self._by_owner.get(f"={event.owner}", ()),
                self._by_owner.get("", ()),
            ):
                if _fits(channel.wanted, event, labels):
                    text = text or sent(event)
                    channel.keep(event, text)
                    told.add(channel)
        for channel in told:
            channel.wake()


def _report(reading: asyncio.Task[None]) -> None:
    if not reading.cancelled() and (error := reading.exception()) is not None:
        _log.error("the reader of events stopped; whoever follows comes again", exc_info=error)


def _fits(wanted: Wanted, event: Event, labels: Mapping[str, Labels]) -> bool:
    its = labels.get(event.task_id, _UNKNOWN)
    return wanted.fits(event, its.name, its.tags)
