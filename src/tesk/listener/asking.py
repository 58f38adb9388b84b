"""Ask TES servers for tasks of which nothing came for a while, so that a lost callback costs minutes, not for ever."""

import asyncio
import logging
import random
import time
from collections.abc import Callable

from tesk.errors import ClientError, Overloaded, RequestError, Unavailable
from tesk.listener.heard import Heard
from tesk.listener.ledger import Due, Ledger
from tesk.listener.servers import FARTHEST_SECONDS, Servers
from tesk.listener.taking import Taking
from tesk.settings import ListenerSettings
from tesk.telemetry.metrics import Counter
from tesk.tes.times import rfc3339
from tesk.tes.view import View

_log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_BATCH = 200
_HELD_SECONDS = 120.0
"""So long another listener leaves a task to this one, that may have been killed."""
_LEFT_SECONDS = 60.0
"""Over so long those are spread that waited for one server."""
_IN_VAIN_MOST = 200
"""Questions without an answer, a week of them by the usual settings: then a task is one that no server knows."""
_STEADY = 16
"""As far as answers count that say nothing new: a task may run for a year."""


class Asking:
    """`run` is one of the listener's loops."""

    def __init__(
        self, ledger: Ledger, taking: Taking, servers: Servers, settings: ListenerSettings, clock: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._taking = taking
        self._settings = settings
        self._clock = clock
        self._at_once = asyncio.Semaphore(settings.asks_at_once)
        self._servers = servers
        self._farthest = max(
            settings.quiet_seconds, settings.quiet_most_seconds, _HELD_SECONDS, FARTHEST_SECONDS + _LEFT_SECONDS
        )
        """Nobody is to be asked later than that: a question that seems to be was put off by a clock that was set back since."""
        self.asked = Counter(
            "tesk_listener_asks_total", "Tasks that servers were asked for, by what came.", ("answer",)
        )

    async def run(self) -> None:
        """Ask, for ever."""
        try:
            while True:
                try:
                    now = self._clock()
                    due = await self._ledger.due(now, now + _HELD_SECONDS, _BATCH, now + self._farthest)
                    async with asyncio.TaskGroup() as group:
                        for each in due:
                            group.create_task(self._ask(each))
                except* (Unavailable, Overloaded) as error:
                    _log.warning("Nothing can be asked for: %s", error.exceptions[0])
                    due = []
                if len(due) < _BATCH:
                    await asyncio.sleep(_TICK_SECONDS)
        finally:
            await self._servers.close()

    async def _ask(self, due: Due) -> None:
        async with self._at_once:
            asked = self._clock()
            subscription = await self._ledger.subscription(due.subscription)
            if subscription is None or not subscription.server:
                await self._ledger.asked(due, None)
                return
            server = subscription.server
            if alone := self._servers.left_alone_seconds(server):
                # That is no question: it does not count.
                later = asked + alone + _LEFT_SECONDS * random.random()
                await self._ledger.asked(due._replace(asks=due.asks - 1), later)
                return
            began = time.monotonic()
            try:
                client = await self._servers.client(server, subscription.server_token)
                async with asyncio.timeout(self._settings.answer_seconds):
                    task = await client.get(due.id, View.MINIMAL)
            except (ClientError, RequestError, TimeoutError) as error:
                # Also "there is no such task": it may be one of another server, or not be there yet.
                self.asked.add(("none",))
                self._servers.note(server, time.monotonic() - began, answered=isinstance(error, RequestError))
                # A server's own words are one line, whatever it says.
                _log.info("Asked for a task of which nothing came: %.300s", " ".join(str(error).split()))
                if due.asks >= _IN_VAIN_MOST:
                    await self._ledger.asked(due, None)
                    return
            else:
                self.asked.add(("state",))
                self._servers.note(server, time.monotonic() - began, answered=True)
                due = due._replace(asks=min(due.asks, _STEADY))
                heard = Heard(
                    subscription=due.subscription,
                    id=due.id,
                    state=task.state,
                    time=rfc3339(asked),
                    at=self._clock(),
                    asked=asked,
                )
                await self._taking.take(heard, asks=True)
            most = self._settings.quiet_most_seconds
            wait = min(self._settings.quiet_seconds * 2.0 ** min(due.asks, 30), most)
            await self._ledger.asked(due, self._clock() + wait * random.uniform(0.5, 1.0))
