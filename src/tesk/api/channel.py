"""What those share who want the same events: the newest of them, encoded once. Who follows is a position in it, not a queue."""

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

from tesk.tes.event import Event
from tesk.tes.following import Wanted
from tesk.tes.state import TERMINAL

_KEPT_MOST = 256
"""Events that are kept; who is further back than these reads by themselves."""


class _Kept(NamedTuple):
    position: int
    text: bytes
    ends: bool


_POSITION = itemgetter(0)


class Follower:
    """One stream. `position`: all that is wanted up to there was sent. `cut` ends it where it does not take what it is sent.

    Whoever sends says so in `sends_since` (of the loop's clock, None: nothing is under way) and `sent`: clocks of their own
    would cost each of them more than the events.
    """

    __slots__ = ("_news", "_waiter", "channel", "cut", "ended", "over", "position", "sends_since", "sent", "to_the_end")

    def __init__(self, channel: "Channel", position: int, cut: Callable[[], None], *, to_the_end: bool) -> None:
        self.channel = channel
        self.position = position
        self.cut = cut
        self.to_the_end = to_the_end
        self.over = False
        """Nothing more comes."""
        self.ended = False
        """An end of a task was among what came."""
        self.sends_since: float | None = None
        self.sent = asyncio.get_running_loop().time()
        self._news = False
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Wake who waits for news."""
        self._news = True
        self._beat()

    def _beat(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def news(self) -> bool:
        """Return when there may be news, at once if there may have been since the last return; False: it is time to beat."""
        if not self._news:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        news, self._news = self._news, False
        return news

    def look(self, now: float, heartbeat_seconds: float, slow_seconds: float) -> None:
        """Do what it is time for."""
        if self.sends_since is None:
            if now - self.sent >= heartbeat_seconds:
                self._beat()
        elif now - self.sends_since >= slow_seconds:
            self.sends_since = None
            self.cut()

    @property
    def behind(self) -> bool:
        """Say whether events that it has not been sent are kept no more."""
        return self.position < self.channel.floor

    def leave(self) -> None:
        """Want no more."""
        self.over = True
        self.wake()

    def take(self) -> bytes:
        """Return all that is kept and was not taken, b"" where that is nothing. It must not be behind."""
        text, newest, ends = self.channel.after(self.position)
        self.position = max(self.position, newest)
        self.ended = self.ended or ends
        return text


class Channel:
    """The newest events that fit `wanted`: all of those after `floor`."""

    __slots__ = ("_asked", "_joined", "_kept", "floor", "followers", "wanted")

    def __init__(self, wanted: Wanted, floor: int) -> None:
        self.wanted = wanted
        self.floor = floor
        self.followers: set[Follower] = set()
        self._kept: list[_Kept] = []
        self._asked = -1
        self._joined = (b"", 0, False)

    def keep(self, event: Event, text: bytes) -> None:
        """Keep one that fits, newer than all before it."""
        self._kept.append(_Kept(event.position, text, event.state in TERMINAL))
        self._asked = -1
        if len(self._kept) > 2 * _KEPT_MOST:
            self.floor = self._kept[-_KEPT_MOST - 1].position
            del self._kept[:-_KEPT_MOST]

    def after(self, position: int) -> tuple[bytes, int, bool]:
        """Return the texts after a position, the position of the last, and whether an end is among them."""
        # Nearly all are at the same place.
        if position != self._asked:
            kept = self._kept[bisect_right(self._kept, position, key=_POSITION) :]
            newest = kept[-1].position if kept else 0
            self._joined = (b"".join([each.text for each in kept]), newest, any(each.ends for each in kept))
            self._asked = position
        return self._joined

    def wake(self) -> None:
        """Wake all who follow."""
        for follower in self.followers:
            follower.wake()
