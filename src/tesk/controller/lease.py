"""Keep this server's right to act: renew it in time, and know when it may have been lost."""

import asyncio
import logging
import time
from collections.abc import Callable

from tesk.errors import LeaseLost, Unavailable
from tesk.store.rows import ENDLESS, Lease, Room
from tesk.store.store import Store

_log = logging.getLogger(__name__)


class Tenure:
    """One lease from taking to losing it. `seconds` is how long it lasts without being renewed.

    Time is measured here by a clock that is never set back and that counts while the process is stopped.
    """

    def __init__(
        self, store: Store, lease: Lease, *, seconds: float, taken: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._clock = clock
        self._deadline = taken + seconds
        self.lease = lease

    @classmethod
    async def take(
        cls, store: Store, place: str, name: str, seconds: float, room: Room = ENDLESS, *, alone: bool = True
    ) -> "Tenure":
        """Take a new lease. Raises Unavailable."""
        taken = time.monotonic()
        lease = await store.acquire(place, name, seconds, room, alone=alone)
        return cls(store, lease, seconds=seconds, taken=taken)

    def sure(self) -> None:
        """Raise LeaseLost unless the lease certainly still holds."""
        if self._clock() >= self._deadline:
            raise LeaseLost("The lease was not renewed in time")

    async def keep(self) -> None:
        """Renew at every third of the time, for ever. Raises LeaseLost when the lease is or may be gone."""
        while True:
            await asyncio.sleep(self._seconds / 3)
            await self._renew()

    async def _renew(self) -> None:
        asked = self._clock()
        try:
            async with asyncio.timeout(max(0.0, self._deadline - asked)):
                self.lease = await self._store.renew(self.lease, self._seconds)
        except TimeoutError:
            self.sure()
        except Unavailable as gone:
            self.sure()
            _log.warning("The lease could not be renewed: %s", gone)
        else:
            self._deadline = asked + self._seconds
