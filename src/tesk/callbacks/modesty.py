"""How much is sent while this process has much else to do: requests go first, and what waits gets the more the longer it does."""

import asyncio
import math
import time
from collections.abc import Callable

_BUSY = 0.6
"""The part of the time for which this process computes, where many requests are answered."""
_PROBE_EVERY_SECONDS = 0.5
_PROBE_SECONDS = 0.015
_QUIET_PAUSES = 5
"""Who waits for a disk computes nothing for a moment."""
_PAUSE_SECONDS = 0.02
_A_PAUSE = 3
"""Calls in a pause, for each second that something waits and one more: 150 a second at first, thousands after some."""
_A_CALL_SECONDS = 0.0001


class Modesty:
    """Holds calls back for a moment, where the process is busy, to see whether it still is; as long as it is, few are let through.

    How busy others make it cannot be seen while calls take what there is: they would seem to be alone. On processors that other
    programs have, too, nothing is held back: nobody here would gain by it.
    """

    def __init__(self, computed: Callable[[], float] = time.process_time) -> None:
        self._computed = computed
        self._calls = 0
        self._left = math.inf
        self._crowded = False
        self._busy = False
        self._quiet = 0
        self._probed = -math.inf

    @property
    def crowded(self) -> bool:
        """Say whether there is much else to do."""
        return self._crowded

    def may_call(self) -> bool:
        """Say whether one more may be called now, and count it."""
        if self._left < 1:
            return False
        self._left -= 1
        self._calls += 1
        return True

    async def pause(self, seconds: float, late_seconds: float) -> None:
        """Pause, longer where there is much else to do. `late_seconds`: how long something waits that could be sent."""
        now = time.monotonic()
        if self._crowded:
            busy = await self._is_busy(_PAUSE_SECONDS, _A_PAUSE * (1 + late_seconds))
            self._quiet = 0 if busy else self._quiet + 1
            self._crowded = self._quiet < _QUIET_PAUSES
        elif self._busy and now - self._probed > _PROBE_EVERY_SECONDS:
            self._probed = now
            self._crowded, self._quiet = await self._is_busy(_PROBE_SECONDS, 0), 0
        else:
            self._busy = await self._is_busy(seconds, math.inf)
        if not self._crowded:
            self._left = math.inf

    async def _is_busy(self, seconds: float, calls: float) -> bool:
        self._left, self._calls = calls, 0
        began, before = time.monotonic(), self._computed()
        await asyncio.sleep(seconds)
        others = self._computed() - before - (self._calls * _A_CALL_SECONDS if calls < math.inf else 0.0)
        return others > _BUSY * (time.monotonic() - began)
