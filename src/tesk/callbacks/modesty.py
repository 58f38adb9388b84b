"""How much is sent while this process has much else to do: requests go first, and what waits gets the more the longer it does."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

_BUSY = 0.7
_OTHERS = 0.25
"""So much of the time this process computes, and so much of it for others, where many requests are answered."""
_A_CALL_SECONDS = 0.00015
"""Rather more than it is: who only sends has nobody to wait for."""
_PAUSE_SECONDS = 0.02
_A_PAUSE = 5
"""Calls in a pause, for each second that something waits and one more: 250 a second at first, thousands after some."""


def crowds(computed: float, whole: float, calls: int) -> bool:
    """Say whether others are in the way: of `whole` seconds this process computed some, in which it began some calls."""
    return computed > _BUSY * whole and computed - calls * _A_CALL_SECONDS > _OTHERS * whole


class Modesty:
    """Goes by the time that this process computes: on processors that others have, too, nothing is gained by waiting."""

    def __init__(self, judge: Callable[[float, float, int], bool] = crowds) -> None:
        self._judge = judge
        self._crowds = deque([False] * 5, maxlen=5)
        self._calls = 0
        self._left = math.inf

    @property
    def crowded(self) -> bool:
        """Say whether there is much else to do."""
        return self._left < math.inf

    def may_call(self) -> bool:
        """Say whether one more may be called now, and count it."""
        if self._left < 1:
            return False
        self._left -= 1
        self._calls += 1
        return True

    async def pause(self, seconds: float, late_seconds: float) -> None:
        """Pause, longer where there is much else to do. `late_seconds`: how long something waits that could be sent."""
        crowded = sum(self._crowds) > 2
        self._left = _A_PAUSE * (1 + late_seconds) if crowded else math.inf
        self._calls = 0
        began, computed = time.monotonic(), time.process_time()
        await asyncio.sleep(_PAUSE_SECONDS if crowded else seconds)
        self._crowds.append(self._judge(time.process_time() - computed, time.monotonic() - began, self._calls))
