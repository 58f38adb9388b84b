"""What executors write, as they write it: `GET /tesk/v1/tasks/{id}/logs/{executor}`."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol
from urllib.parse import parse_qs

from msgspec import json

from tesk import operations
from tesk.api.exchange import Exchange, Headers
from tesk.caller import LOCAL
from tesk.compute.backend import SEPARATE, AttemptId, Stream
from tesk.errors import BackendUnavailable, BadRequest, Problem
from tesk.store.rows import StoredExecutorLog, StoredTask
from tesk.store.store import Store
from tesk.tes.ids import is_id
from tesk.tes.state import TERMINAL
from tesk.tes.view import View
from tesk.transfer import Progress

_STREAMS: dict[str, Stream] = {"stdout": "stdout", "stderr": "stderr", "combined": "combined"}
_FLAGS = {"": False, "false": False, "true": True}
_LOOK_SECONDS = 5.0
"""How long at most until a task that has begun meanwhile is seen."""
_AGAIN_SECONDS = 0.5
_PLAIN: Headers = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),
]


class Live(Protocol):
    """What a backend tells of attempts while they run. See `tesk.compute.backend.Backend`."""

    async def progress(self, attempt: AttemptId) -> Progress | None: ...
    def waiting(self, attempt: AttemptId) -> str | None: ...
    def logs(self, attempt: AttemptId, executor: int, *, stream: Stream, follow: bool) -> AsyncIterator[bytes]: ...


class Logs:
    """Serves the streams of executors: live from the backend, or the tails that were kept. `closing` ends them all."""

    def __init__(self, store: Store, live: Live | None, closing: asyncio.Event) -> None:
        self._store = store
        self._live = live
        self._closing = closing

    async def logs(self, exchange: Exchange) -> None:
        """Write one executor's stream to its end; without `follow`, as far as it is.

        Kept streams are given where the attempt is over; `combined` is then stdout, and stderr after it. Where the server
        ends, or the backend cannot be asked, the connection is broken off: who follows comes again.
        """
        task_id: str = exchange.scope["path_params"]["id"]
        executor, stream, follow = _asked(exchange)
        if await self._task(exchange, task_id) is None:
            raise operations.no_task(task_id)
        exchange.status = 200
        await exchange.send({"type": "http.response.start", "status": 200, "headers": [*_PLAIN, *exchange.cors]})
        loop = asyncio.get_running_loop()
        over = [loop.create_task(exchange.gone()), loop.create_task(self._closing.wait())]
        writing = loop.create_task(self._write(exchange, task_id, executor, stream, follow=follow))
        try:
            await asyncio.wait((writing, *over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (writing, *over):
                each.cancel()
            await asyncio.gather(*over, return_exceptions=True)
        whole = False
        with contextlib.suppress(asyncio.CancelledError, BackendUnavailable):
            await writing  # what it was told is told; a fault of our own is one
            whole = True
        if whole:
            await exchange.send({"type": "http.response.body", "body": b""})
        else:
            await exchange.break_off()

    async def _write(self, exchange: Exchange, task_id: str, executor: int, stream: Stream, *, follow: bool) -> None:
        while (task := await self._task(exchange, task_id)) is not None:
            if (kept := _kept(task, executor)) is not None:
                await self._send(exchange, _text(kept, stream))
                return
            written = False
            if self._live is not None and task.attempts and task.state not in TERMINAL:
                attempt = AttemptId(task.id, task.attempts[-1].number)
                async with contextlib.aclosing(_iterated(self._live, attempt, executor, stream, follow)) as pieces:
                    async for piece in pieces:
                        written = True
                        await self._send(exchange, piece)
            if not follow or written or task.state in TERMINAL:
                return
            await self._store.changed(task_id, task.state, _LOOK_SECONDS if not task.attempts else _AGAIN_SECONDS)

    async def _send(self, exchange: Exchange, piece: bytes) -> None:
        if piece:
            await exchange.send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _task(self, exchange: Exchange, task_id: str) -> StoredTask | None:
        return await self._store.get(task_id, exchange.caller or LOCAL, View.FULL) if is_id(task_id) else None


async def _iterated(
    live: Live,
    attempt: AttemptId,
    executor: int,
    stream: Stream,
    follow: bool,
) -> AsyncGenerator[bytes]:
    async for piece in live.logs(attempt, executor, stream=stream, follow=follow):
        yield piece


def _asked(exchange: Exchange) -> tuple[int, Stream, bool]:
    """Return which executor, which stream, and whether on to its end. Raises BadRequest."""
    query = parse_qs(exchange.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    number = str(exchange.scope["path_params"]["executor"])
    stream = _STREAMS.get(query.get("stream", ["combined"])[-1])
    follow = _FLAGS.get(query.get("follow", [""])[-1])
    problems = []
    if not (number.isdecimal() and len(number) < 6):
        problems.append(Problem("executor", "must be the number of an executor, from 0"))
    if stream is None:
        problems.append(Problem("stream", f"must be one of {', '.join(_STREAMS)}"))
    if follow is None:
        problems.append(Problem("follow", "must be true or false"))
    if problems or stream is None or follow is None:
        raise BadRequest("; ".join(f"{each.path} {each.detail}" for each in problems), tuple(problems))
    return int(number), stream, follow


def _kept(task: StoredTask, executor: int) -> StoredExecutorLog | None:
    executors = task.attempts[-1].executors if task.attempts else ()
    return executors[executor] if executor < len(executors) else None


def _text(log: StoredExecutorLog, stream: Stream) -> bytes:
    names = SEPARATE if stream == "combined" else (stream,)
    texts = [log.stdout if name == "stdout" else log.stderr for name in names]
    return b"".join(json.decode(text, type=str).encode("utf-8", "replace") for text in texts if text)
