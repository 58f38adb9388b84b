"""Callbacks that come while a commit is under way share the next one."""

import asyncio
from collections import deque

from tesk.errors import Overloaded, Unavailable
from tesk.listener.heard import Heard, Verdict
from tesk.listener.ledger import Ledger, Saying
from tesk.telemetry.metrics import Counter, Histogram

_BATCH = 1000
"""Most in a transaction, so that nobody waits too long for it."""
_TURNS = 2
"""Of the loop: one in which a request is read, one in which it is understood."""
_PENDING_MOST = 20_000
_SIZES = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)


class Taking:
    """Records what was heard. `run` is one of the listener's loops. `quiet_seconds`: then a server is asked."""

    def __init__(self, ledger: Ledger, quiet_seconds: float) -> None:
        self._ledger = ledger
        self._quiet = quiet_seconds
        self._coming: deque[tuple[Saying, asyncio.Future[Verdict]]] = deque()
        self._some = asyncio.Event()
        self.heard = Counter("tesk_listener_callbacks_total", "What was heard of tasks, by what it was.", ("verdict",))
        self.sizes = Histogram("tesk_listener_commit_callbacks", "Callbacks that shared a commit.", _SIZES)

    def take(self, heard: Heard, *, asks: bool) -> asyncio.Future[Verdict]:
        """Record it; that is done when the future is. `asks`: there is a server to ask. Both raise Overloaded or Unavailable."""
        if len(self._coming) >= _PENDING_MOST:
            raise Overloaded("more callbacks come than can be recorded", retry_after_seconds=2)
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        ask = heard.at + self._quiet if asks and not heard.ended else None
        self._coming.append((Saying(heard, ask), answer))
        self._some.set()
        return answer

    async def run(self) -> None:
        """Record, for ever."""
        while True:
            await self._some.wait()
            while self._coming:
                await self._gather()
                batch = [self._coming.popleft() for _ in range(min(len(self._coming), _BATCH))]
                await self._record(batch)
            self._some.clear()

    async def _gather(self) -> None:
        """Let all come that are on their way: a commit costs much, and one more in it little."""
        before = 0
        while before < len(self._coming) < _BATCH:
            before = len(self._coming)
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    async def _record(self, batch: list[tuple[Saying, asyncio.Future[Verdict]]]) -> None:
        try:
            verdicts = await self._ledger.take([saying for saying, _ in batch])
        except Unavailable as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        self.sizes.observe(len(batch))
        for (_, answer), verdict in zip(batch, verdicts, strict=True):
            self.heard.add((verdict.value,))
            if not answer.done():  # who has sent it has gone; it is recorded all the same
                answer.set_result(verdict)
