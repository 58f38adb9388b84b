"""One listener's host, as this server knows it: its open connections, whether it is well, and when it may be called again."""

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable

from tesk.callbacks.line import Line, connect
from tesk.callbacks.verdict import Verdict
from tesk.http.target import Target
from tesk.store.outbox import Outgoing, Place

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
        """Tasks that are told of now, each over a line of its own."""
        self.queue: deque[tuple[Outgoing, float]] = deque()
        """Tasks that were taken for it, and when."""
        self.until = 0.0
        """Not to be called before."""
        self.looked_up_to: Place | None = None
        """How far the look for what has waited too long has come."""
        self._failures = 0
        self._successes = 0
        self._idle: list[Line] = []

    @property
    def is_open(self) -> bool:
        """Say whether only probes go there."""
        return self._failures >= _FAILURES

    @property
    def room(self) -> int:
        """How many tasks more may be taken for it: the better it answers, the more."""
        most = 1 if self.is_open else min(_MOST, _FEW + self._successes)
        return most - self.active - len(self.queue)

    def note(self, verdict: Verdict, now: float) -> None:
        """Learn from a call what it says of the host."""
        if not verdict.out_of_order:
            self._failures = 0
            self._successes += 1
        elif not self.is_open or now >= self.until:
            # What was on its way when the circuit opened says no more than what opened it.
            self._failures += 1
            self._successes = 0
            if self.is_open:
                wait = min(_PROBE_MOST_SECONDS, _PROBE_SECONDS * 2.0 ** min(10, self._failures - _FAILURES))
                self.until = now + wait * random.uniform(0.75, 1.25)
        if verdict.host_seconds is not None:
            self.until = max(self.until, now + verdict.host_seconds)

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
        return not (keep or self.active or self.queue or self._failures) and now > self.until

    def close(self) -> None:
        """Close everything that is idle."""
        for line in self._idle:
            line.close()
        self._idle.clear()
