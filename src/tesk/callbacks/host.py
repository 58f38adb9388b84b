"""One listener's host, as this server knows it: its open connections, whether it is well, and when it may be called again."""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable

from tesk.callbacks.line import Line, connect
from tesk.callbacks.target import Target

_FAILURES = 10
"""So many in a row, with no good answer between, and nothing but probes goes there."""
_PROBE_SECONDS = 2.0
_PROBE_MOST_SECONDS = 300.0
_IDLE_SECONDS = 30.0
_FEW = 8
_MOST = 128

Find = Callable[[Target], Awaitable[list[str]]]
"""Looks up the addresses of a host, and lets through only what may be called: what was checked is what is connected to."""


class Host:
    """Lines, and a circuit that opens where nobody answers. Times are the loop's."""

    def __init__(self) -> None:
        self.active = 0
        self.until = 0.0
        """Not to be called before."""
        self._failures = 0
        self._successes = 0
        self._idle: list[Line] = []
        self._connections: asyncio.Semaphore | None = None

    def connections(self, most: int) -> asyncio.Semaphore:
        """Return what bounds the calls under way."""
        if self._connections is None:
            self._connections = asyncio.Semaphore(most)
        return self._connections

    @property
    def is_open(self) -> bool:
        """Say whether only probes go there."""
        return self._failures >= _FAILURES

    @property
    def at_once(self) -> int:
        """How many tasks may be taken for it at a time: the better it answers, the more."""
        return 1 if self.is_open else min(_MOST, _FEW + self._successes)

    def heard(self) -> None:
        """Note that it answered, whatever it said."""
        self._failures = 0
        self._successes += 1

    def failed(self, now: float) -> None:
        """Note that it did not answer, or is out of order."""
        self._failures += 1
        self._successes = 0
        if self.is_open:
            wait = min(_PROBE_MOST_SECONDS, _PROBE_SECONDS * 2.0 ** min(10, self._failures - _FAILURES))
            self.until = now + wait * random.uniform(0.75, 1.25)

    def leave_alone(self, until: float) -> None:
        """Note that it asked to be called no earlier."""
        self.until = max(self.until, until)

    async def line(self, target: Target, find: Find, tls: ssl.SSLContext | None, seconds: float) -> Line:
        """Return a line that is free, or a new one to an address that may be called. Raises Broken, and what `find` raises."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            line = self._idle.pop()
            if line.usable and now - line.idle_since < _IDLE_SECONDS:
                return line
            line.close()
        found = await find(target)
        return await connect(found, target.port, host=target.host, tls=tls, seconds=seconds)

    def give_back(self, line: Line) -> None:
        """Keep a line for the next call, if it can be used again."""
        if line.usable:
            self._idle.append(line)
        else:
            line.close()

    def close_idle(self, now: float) -> bool:
        """Close what was not used for a while; say whether nothing is left to remember."""
        keep = [line for line in self._idle if line.usable and now - line.idle_since < _IDLE_SECONDS]
        for line in set(self._idle).difference(keep):
            line.close()
        self._idle = keep
        return not keep and not self.active and not self._failures and now > self.until

    def close(self) -> None:
        """Close everything that is idle."""
        for line in self._idle:
            line.close()
        self._idle.clear()
