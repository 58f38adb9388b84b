"""Tell those who wait in this process of what was recorded, by whichever listener. One reader for everybody."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Generator
from typing import NamedTuple

from tesk.errors import Overloaded, Unavailable
from tesk.listener.heard import unheard
from tesk.listener.ledger import Ledger, News
from tesk.tes.state import TERMINAL
from tesk.tes.told import Told

_log = logging.getLogger(__name__)

_PAGE = 2000
_LOOK_SECONDS = 5.0
"""How often the table is looked at, told or not."""
_AGAIN_SECONDS = 1.0
_BEAT_LEAST_SECONDS = 0.05
_AHEAD_MOST = 1000
"""Moves that are held for one who does not take them; who has more to take reads the table."""


class Sought(NamedTuple):
    """Which moves somebody wants. `subscription` None: anybody's. `ids` empty: of all tasks."""

    subscription: str | None
    ids: frozenset[str] = frozenset()
    ends_only: bool = False

    def fits(self, news: News) -> bool:
        """Say whether one is among them."""
        return (
            self.subscription in (None, news.subscription)
            and (not self.ids or news.told.id in self.ids)
            and (not self.ends_only or news.told.state in TERMINAL)
        )


class _Wait:
    """Somebody who waits for one task."""

    __slots__ = ("future", "subscription")

    def __init__(self, subscription: str | None) -> None:
        self.subscription = subscription
        self.future: asyncio.Future[Told | None] = asyncio.get_running_loop().create_future()


class Follower:
    """Somebody who follows many. `behind`: more came than is held, so the table is to be read."""

    __slots__ = ("ahead", "beat", "behind", "left", "news", "sought")

    def __init__(self, sought: Sought) -> None:
        self.sought = sought
        self.ahead: deque[News] = deque()
        self.behind = True
        self.left = False
        self.beat = False
        self.news = asyncio.Event()

    def leave(self) -> None:
        """Follow no longer."""
        self.left = True
        self.news.set()


class Feed:
    """Those who wait. `run` reads what was recorded, and is one of the listener's loops."""

    def __init__(self, ledger: Ledger, limit: int) -> None:
        self._ledger = ledger
        self._limit = limit
        self._waits: dict[str, set[_Wait]] = {}
        self._by_id: dict[str, set[Follower]] = {}
        self._of_all: set[Follower] = set()
        self._held = 0
        self._position = 0
        self._closed = False

    def __len__(self) -> int:
        return self._held

    async def begin(self) -> None:
        """Tell of what is recorded from now on. Before anybody waits: they are not told of what was. Raises Unavailable."""
        self._position = await self._ledger.newest()

    async def run(self) -> None:
        """Read and tell, for ever."""
        while True:
            try:
                news = await self._ledger.news(self._position, _PAGE)
                if news:
                    self._position = news[-1].position
                    self._tell(news)
                if len(news) < _PAGE:
                    await self._ledger.wait_for_news(_LOOK_SECONDS)
            except Unavailable as error:
                _log.warning("What was recorded cannot be read: %s", error)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def next(self, task_id: str, subscription: str | None, seconds: float, known: str = "") -> Told:
        """Return the last of a task once it has ended or, where a state is `known`, is in another; at the timeout as it is.

        Raises Overloaded, Unavailable.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        with self._holding():
            while True:
                # First wait, then look: what comes between is seen twice, not missed.
                wait = _Wait(subscription)
                self._waits.setdefault(task_id, set()).add(wait)
                try:
                    last = await self._ledger.get(task_id, subscription) or unheard(task_id)
                    if _is_it(last, known) or self._closed:
                        return last
                    async with asyncio.timeout(max(0.0, until - loop.time())):
                        news = await wait.future
                    if news is not None and _is_it(news, known):
                        return news
                except TimeoutError:
                    return last
                finally:
                    waits = self._waits[task_id]
                    waits.discard(wait)
                    if not waits:
                        del self._waits[task_id]

    def close(self) -> None:
        """Send everybody home who waits."""
        self._closed = True
        for wait in [wait for waits in self._waits.values() for wait in waits]:
            if not wait.future.done():
                wait.future.set_result(None)
        for follower in self._followers():
            follower.news.set()

    @contextlib.contextmanager
    def joined(self, sought: Sought) -> Generator[Follower]:
        """Give one who follows. Raises Overloaded."""
        follower = Follower(sought)
        with self._holding():
            sets = [self._by_id.setdefault(task_id, set()) for task_id in sought.ids] or [self._of_all]
            for each in sets:
                each.add(follower)
            try:
                yield follower
            finally:
                for each in sets:
                    each.discard(follower)
                for task_id in sought.ids:
                    if not self._by_id.get(task_id, True):
                        del self._by_id[task_id]

    async def beat(self, seconds: float) -> None:
        """Have all who follow told now and then where they are, for ever: one clock, where one for each costs more than news."""
        while True:
            await asyncio.sleep(max(seconds, _BEAT_LEAST_SECONDS))
            for follower in self._followers():
                follower.beat = True
                follower.news.set()

    async def follow(self, follower: Follower, after: int) -> AsyncGenerator[list[News] | int]:
        """Yield moves behind a position as they come, and at each beat the position itself. Raises Unavailable."""
        sought, position = follower.sought, after
        while not (self._closed or follower.left):
            # Before the look: what comes after it wakes.
            follower.news.clear()
            if follower.behind:
                follower.behind = False
                follower.ahead.clear()
                found = await self._ledger.news(position, _PAGE, sought.subscription)
                follower.behind |= len(found) == _PAGE
                position = found[-1].position if found else position
            else:
                found = [news for news in follower.ahead if news.position > position]
                follower.ahead.clear()
                # All up to there was held for it, or is none of its.
                position = max(position, self._position)
            if wanted := [news for news in found if sought.fits(news)]:
                yield wanted
            elif follower.beat:
                follower.beat = False
                yield position
            elif not follower.behind:
                await follower.news.wait()

    def _followers(self) -> set[Follower]:
        return self._of_all.union(*self._by_id.values())

    @contextlib.contextmanager
    def _holding(self) -> Generator[None]:
        if self._held >= self._limit:
            raise Overloaded(f"{self._limit} wait here already (listener.waiters_limit)", retry_after_seconds=10)
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def _tell(self, page: list[News]) -> None:
        for news in page:
            for wait in self._waits.get(news.told.id, ()):
                if not wait.future.done() and wait.subscription in (None, news.subscription):
                    wait.future.set_result(news.told)
            for followers in (self._by_id.get(news.told.id, ()), self._of_all):
                for follower in followers:
                    if follower.sought.fits(news):
                        if len(follower.ahead) >= _AHEAD_MOST:
                            follower.behind = True
                            follower.ahead.clear()
                        elif not follower.behind:
                            follower.ahead.append(news)
                        follower.news.set()


def _is_it(told: Told, known: str) -> bool:
    return told.state in TERMINAL or known not in ("", told.state)
