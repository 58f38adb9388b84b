"""Ask TES servers for tasks of which nothing came for a while, so that a lost callback costs minutes, not for ever."""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable

from tesk.client.client import AsyncClient
from tesk.client.patience import Patience
from tesk.errors import ClientError, Overloaded, RequestError, Unavailable
from tesk.listener.heard import Heard
from tesk.listener.ledger import Due, Ledger
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
_ANSWER_SECONDS = 10.0
_DOWN_SECONDS = 60.0
"""So long a server that did not answer is left alone: others wait for their turn."""
_CLIENTS_MOST = 100
_IMPATIENT = Patience(busy=0.0, gone=0.0)
"""The next look is the next try."""


class Asking:
    """`run` is one of the listener's loops."""

    def __init__(self, ledger: Ledger, taking: Taking, settings: ListenerSettings, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._taking = taking
        self._settings = settings
        self._clock = clock
        self._at_once = asyncio.Semaphore(settings.asks_at_once)
        self._clients: OrderedDict[str, AsyncClient] = OrderedDict()
        self._down: dict[str, float] = {}
        """Servers that did not answer, and until when they are left alone, by a clock that nobody sets."""
        self._farthest = max(settings.quiet_seconds, settings.quiet_most_seconds, _HELD_SECONDS, 2 * _DOWN_SECONDS)
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
            for client in self._clients.values():
                await client.close()

    async def _ask(self, due: Due) -> None:
        async with self._at_once:
            asked = self._clock()
            subscription = await self._ledger.subscription(due.subscription)
            if subscription is None or not subscription.server:
                return
            if self._down.get(subscription.server, 0.0) > time.monotonic():
                await self._ledger.asked(due, asked + _DOWN_SECONDS * random.uniform(1.0, 2.0))
                return
            try:
                client = await self._client(subscription.server, subscription.server_token)
                async with asyncio.timeout(_ANSWER_SECONDS):
                    task = await client.get(due.id, View.MINIMAL)
            except (ClientError, RequestError, TimeoutError) as error:
                # Also "there is no such task": it may be one of another server, or not be there yet.
                self.asked.add(("none",))
                if not isinstance(error, RequestError):
                    self._down[subscription.server] = time.monotonic() + _DOWN_SECONDS
                _log.info("Asked for a task of which nothing came: %s", error)
            else:
                self.asked.add(("state",))
                self._down.pop(subscription.server, None)
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

    async def _client(self, server: str, token: str) -> AsyncClient:
        key = f"{server}\n{token}"
        client = self._clients.pop(key, None) or AsyncClient(server, token=token or None, patience=_IMPATIENT)
        self._clients[key] = client
        if len(self._clients) > _CLIENTS_MOST:
            _, oldest = self._clients.popitem(last=False)
            await oldest.close()
        return client
