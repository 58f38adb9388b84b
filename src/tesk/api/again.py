"""Reads that come again and again on one connection, with the same head: whoever polls goes a short way."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from tesk.errors import RequestError
from tesk.http.exchange import BUG, Again, Answer, Headers, refusal
from tesk.telemetry.metrics import Metrics

Read = Callable[[], Awaitable[tuple[int, Headers, bytes]]]
"""Reads what is answered: status, headers and body."""


class Reads:
    """Counts what goes the short way, and holds it until it is answered."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._running: set[asyncio.Task[None]] = set()

    def again(self, label: str, read: Read) -> Again:
        """Return who answers another request with the head that led to `read`. A body goes the long way."""

        def again(body: bytes, _: tuple[bytes, ...], answer: Answer) -> bool:
            if body:
                return False
            running = asyncio.get_running_loop().create_task(self._run(label, read, answer))
            self._running.add(running)
            running.add_done_callback(self._running.discard)
            return True

        return again

    async def _run(self, label: str, read: Read, answer: Answer) -> None:
        began = time.perf_counter()
        status, headers, body = refusal(BUG)
        try:
            status, headers, body = await read()
        except RequestError as error:
            status, headers, body = refusal(error)
        finally:
            self._metrics.request(label, "GET", status, time.perf_counter() - began)
            answer(status, headers, body)
