"""Run the controller: one lease after the other, for as long as the server lives, and its graceful end."""

import asyncio
import logging
import random
import time
from collections.abc import Callable

from tesk.compute.backend import Backend, Capacity
from tesk.controller.admission import room
from tesk.controller.backoff import delay_seconds
from tesk.controller.decide import Limits, Stop, Why
from tesk.controller.lease import Tenure
from tesk.controller.reconcile import Refusal
from tesk.controller.term import Term
from tesk.errors import BackendUnavailable, LeaseLost, Unavailable
from tesk.settings import Settings
from tesk.store.store import Store
from tesk.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS = 30.0


class Controller:
    """Moves tasks from QUEUED to their end. `name` is what the lease is called, for people.

    `refusal` is asked about a task's data before anything of it starts: nobody should compute a day for a wrong URL.
    """

    def __init__(
        self,
        store: Store,
        backend: Backend,
        settings: Settings,
        *,
        name: str,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        refusal: Refusal = lambda _: None,
    ) -> None:
        self._store = store
        self._backend = backend
        self._settings = settings
        self._name = name
        self._metrics = metrics
        self._last = time.monotonic()
        self._clock = clock
        self._refusal = refusal
        self._limits = Limits(
            attempts=settings.limits.attempts,
            attempts_in_all=settings.limits.attempts_in_all,
            time_limit_seconds=settings.limits.time_limit_seconds,
            retry_seconds=settings.controller.retry_seconds,
            grace_seconds=settings.grace_seconds,
        )
        self._term: Term | None = None
        self._draining = False
        self._shutdown: Stop | None = None
        metrics.holds(self._holds)

    async def run(self) -> None:
        """Hold one lease after the other until canceled; then the last one is released."""
        failures = 0
        while True:
            self._beat()
            try:
                async with asyncio.timeout(self._settings.controller.lease_seconds):
                    capacity = await self._backend.capacity()
                    tenure = await Tenure.take(
                        self._store,
                        self._backend.place,
                        self._name,
                        self._settings.controller.lease_seconds,
                        room(capacity),
                        alone=not self._backend.shared,
                    )
            except (Unavailable, BackendUnavailable, TimeoutError) as gone:
                _log.warning("No lease: %s; will try again", gone or "the database took too long")
                await asyncio.sleep(delay_seconds(failures, 1.0, _LONGEST_WAIT_SECONDS, 0.5 + random.random() / 2))
                failures += 1
                continue
            failures = 0
            await self._hold(tenure, capacity)

    async def _hold(self, tenure: Tenure, capacity: Capacity | None) -> None:
        term = self._term = Term(
            self._store,
            self._backend,
            tenure,
            capacity,
            settings=self._settings,
            limits=self._limits,
            clock=self._clock,
            metrics=self._metrics,
            beat=self._beat,
            refusal=self._refusal,
        )
        if self._draining:
            term.drain(self._shutdown)
        try:
            await term.run()
        except* LeaseLost as lost:
            _log.error("Lost the lease, taking a new one: %s", lost.exceptions[0])
        finally:
            self._term = None
            await self._release(tenure)

    async def _release(self, tenure: Tenure) -> None:
        try:
            async with asyncio.timeout(5.0):
                await self._store.release(tenure.lease)
        except (Unavailable, TimeoutError):
            _log.warning("The lease could not be released; it ends by itself")

    def _holds(self) -> int:
        return 0 if self._term is None else sum(not held.stale for held in self._term.held.values())

    def _beat(self) -> None:
        self._last = time.monotonic()

    def alive(self) -> bool:
        """Say whether the loops do their rounds."""
        return time.monotonic() - self._last < 60.0 + 3 * self._settings.controller.sweep_seconds

    def drain(self) -> None:
        """Start nothing new from now on."""
        self._draining = True
        if self._term is not None:
            self._term.drain(self._shutdown)

    def stop_all(self, grace_seconds: float) -> None:
        """Start nothing new, stop what runs and queue it again. A second call may shorten the grace."""
        self._shutdown = Stop(Why.SHUTDOWN, grace_seconds)
        self.drain()

    async def idle(self) -> None:
        """Return when nothing is held any more; at once where there is no lease."""
        if self._term is not None:
            await self._term.idle.wait()
