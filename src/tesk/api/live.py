"""What executors write, as they write it, and what the system says of a task: `GET /tesk/v1/tasks/{id}/logs`."""

import asyncio
import contextlib
from binascii import b2a_base64
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from typing import Protocol

from msgspec import Raw, Struct, json

from tesk import operations
from tesk.api.position import Fresh, Position, Said
from tesk.caller import LOCAL
from tesk.compute.backend import SEPARATE, AttemptId, Piece, Stream
from tesk.errors import BackendUnavailable, NotFound, Unavailable
from tesk.http.descriptors import logs_most
from tesk.http.exchange import Exchange, Headers
from tesk.settings import ServerSettings
from tesk.store.rows import StoredTask
from tesk.store.store import Store
from tesk.tes.parameters import Given
from tesk.tes.state import TERMINAL, State
from tesk.tes.view import View
from tesk.transfer import Progress

_STREAMS: tuple[Said, ...] = ("stdout", "stderr", "combined", "system")
_LOOK_SECONDS = 5.0
"""How long at most until a task that has begun meanwhile is seen."""
_AGAIN_SECONDS = 0.5
"""How long at first until it is looked again, where a stream has ended, or is another server's, and its task has not."""
_KEPT: Headers = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),
]
_PLAIN: Headers = [(b"content-type", b"text/plain; charset=utf-8"), *_KEPT]
_EVENTS: Headers = [(b"content-type", b"text/event-stream; charset=utf-8"), *_KEPT]


class Live(Protocol):
    """What a backend tells of attempts while they run. See `tesk.compute.backend.Backend`."""

    async def progress(self, attempt: AttemptId) -> Progress | None: ...
    def waiting(self, attempt: AttemptId) -> str | None: ...
    def logs(self, attempt: AttemptId, executor: int, *, stream: Stream, follow: bool) -> AsyncIterator[Piece]: ...


class Logged(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event of a stream of logs: a piece as `text`, as `base64` where it is no whole UTF-8, or a `note` of ours.

    `missed_bytes`: so many came before it and are not kept. `executor` None: it is said of the task.
    """

    attempt: int
    executor: int | None
    stream: Said
    text: str = ""
    base64: str = ""
    missed_bytes: int = 0
    note: str = ""


class _Asked(Struct, frozen=True, kw_only=True):
    """What is wanted. `executor` None: all in turn. `events`: as server-sent events, each with its position."""

    stream: Said
    executor: int | None
    follow: bool
    position: Position
    events: bool


class _Line:
    """The answer to one follower. `heard` is the attempt of which it has been given something."""

    def __init__(self, exchange: Exchange, asked: _Asked, slow_seconds: float) -> None:
        self._exchange = exchange
        self._slow_seconds = slow_seconds
        self._events = asked.events
        self.position = asked.position
        self.heard = 0

    async def begin(self) -> None:
        await self._exchange.begin(_EVENTS if self._events else _PLAIN)
        await self._write(b"")  # the head would wait for what follows it

    async def give(self, news: Iterable[Fresh]) -> None:
        for fresh in news:
            self.heard = self.position.attempt
            if self._events:
                await self._write(
                    b"id: %b\nevent: log\ndata: %b\n\n" % (str(self.position).encode(), self._json(fresh))
                )
            elif fresh.data:
                await self._write(fresh.data)

    async def beat(self, seconds: float) -> None:
        """Say that we are still here, for ever."""
        while self._events:
            await asyncio.sleep(seconds)
            await self._write(b":\n\n")

    async def end(self) -> None:
        if self._events:
            await self._write(b"event: end\ndata: {}\n\n")
        await self._write(b"", more=False)

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(self._slow_seconds):
                await self._exchange.send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError:
            self._exchange.cut()  # who goes away ends all of it

    def _json(self, fresh: Fresh) -> bytes:
        try:
            text, base64 = fresh.data.decode(), ""
        except UnicodeDecodeError:
            text, base64 = "", b2a_base64(fresh.data, newline=False).decode("ascii")
        return json.encode(
            Logged(
                attempt=self.position.attempt,
                executor=None if fresh.stream == "system" else self.position.executor,
                stream=fresh.stream,
                text=text,
                base64=base64,
                missed_bytes=fresh.missed_bytes,
                note=fresh.note,
            )
        )


class Logs:
    """Serves the streams of executors: live from the backend, or the tails that were kept. `closing` ends them all."""

    def __init__(self, store: Store, live: Live | None, closing: asyncio.Event, settings: ServerSettings) -> None:
        self._store = store
        self._live = live
        self._closing = closing
        self._settings = settings
        self._open = 0

    async def logs(self, exchange: Exchange) -> None:
        """Write what an attempt's executors write, to their end; without `follow`, as far as it is.

        Kept streams are given where the attempt is over. Where the server ends, or the backend or the database cannot be
        asked, the connection is broken off: who follows comes again, with where it was.
        """
        task_id: str = exchange.scope["path_params"]["id"]
        asked = _asked(exchange)
        task = await operations.find_task(self._store, exchange.caller or LOCAL, task_id, View.FULL)
        if asked.executor is not None and asked.executor >= (many := _executors(task)):
            raise NotFound(f"task {task_id} has {many} executors, counted from 0, and no executor {asked.executor}")
        most = min(self._settings.log_streams_limit, logs_most())
        if self._open >= most:
            raise Unavailable(
                f"{most} streams of logs are open here already (server.log_streams_limit, or an eighth of the open files "
                "that the system allows this server); what an executor wrote is in its log once the task has ended",
                retry_after_seconds=10,
            )
        self._open += 1
        try:
            await self._stream(exchange, task, asked)
        finally:
            self._open -= 1

    async def _stream(self, exchange: Exchange, task: StoredTask, asked: _Asked) -> None:
        line = _Line(exchange, asked, self._settings.slow_seconds)
        await line.begin()
        loop = asyncio.get_running_loop()
        over = [loop.create_task(exchange.gone()), loop.create_task(self._closing.wait())]
        write = self._write_system if asked.stream == "system" else self._write
        writing = loop.create_task(write(exchange, task, asked, line))
        beating = loop.create_task(line.beat(self._settings.heartbeat_seconds))
        try:
            await asyncio.wait((writing, *over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (writing, beating, *over):
                each.cancel()
            await asyncio.gather(beating, *over, return_exceptions=True)
        whole = False
        with contextlib.suppress(asyncio.CancelledError, BackendUnavailable, Unavailable):
            await writing  # what it was told is told; a fault of our own is one
            whole = True
        if whole:
            await line.end()
        else:
            await exchange.break_off()

    async def _write(self, exchange: Exchange, task: StoredTask, asked: _Asked, line: _Line) -> None:
        executors = (asked.executor,) if asked.executor is not None else _in_turn(task, line.position)
        for executor in executors:
            if not await self._write_executor(exchange, task.id, executor, asked, line):
                return

    async def _write_executor(
        self, exchange: Exchange, task_id: str, executor: int, asked: _Asked, line: _Line
    ) -> bool:
        """Write one executor's streams to their end; say whether the next one's belong to the same attempt."""
        stream: Stream = "combined" if asked.stream == "system" else asked.stream
        again = _AGAIN_SECONDS
        while (task := await self._task(exchange, task_id)) is not None:
            attempt = task.attempts[-1].number if task.attempts else 0
            kept = tuple(_kept(task, executor, stream))
            ended = bool(kept)
            if kept:
                line.position.at(attempt, executor)
                for piece in kept:
                    await line.give(line.position.fresh(piece))
            elif line.heard and (attempt != line.heard or task.state is State.QUEUED):
                return False  # it was lost, and another one follows
            elif self._live is not None and attempt and task.state not in TERMINAL:
                line.position.at(attempt, executor)
                pieces = _iterated(self._live, AttemptId(task_id, attempt), executor, stream, asked.follow)
                async with contextlib.aclosing(pieces):
                    async for piece in pieces:
                        ended = ended or not piece.data
                        await line.give(line.position.fresh(piece))
            await line.give(line.position.rest())
            if ended or not asked.follow or task.state in TERMINAL:
                return True
            await self._store.changed(task_id, task.state, again if attempt else _LOOK_SECONDS)
            again = min(again * 2, _LOOK_SECONDS)
        return False

    async def _write_system(self, exchange: Exchange, first: StoredTask, asked: _Asked, line: _Line) -> None:
        """Write `system_logs` of all attempts, a sentence a line, as moves bring them."""
        task: StoredTask | None = first
        while task is not None:
            line.position.attempt = task.attempts[-1].number if task.attempts else 0
            said = [word for each in task.attempts for word in json.decode(each.system_logs, type=list[str])]
            await line.give(line.position.said("system", 0, "".join(f"{word}\n" for word in said).encode()))
            if not asked.follow or task.state in TERMINAL:
                return
            await self._store.changed(task.id, task.state, _LOOK_SECONDS)
            task = await self._task(exchange, task.id)

    async def _task(self, exchange: Exchange, task_id: str) -> StoredTask | None:
        return await self._store.get(task_id, exchange.caller or LOCAL, View.FULL)


async def _iterated(
    live: Live,
    attempt: AttemptId,
    executor: int,
    stream: Stream,
    follow: bool,
) -> AsyncGenerator[Piece]:
    async for piece in live.logs(attempt, executor, stream=stream, follow=follow):
        yield piece


def _asked(exchange: Exchange) -> _Asked:
    """Return what is asked for. Raises BadRequest."""
    given = Given(exchange.scope["query_string"])
    executor, follow = given.whole("executor"), given.flag("follow")
    stream = given.choice("stream", _STREAMS, "combined")
    since = exchange.headers.get(b"last-event-id", b"").decode("latin-1") or given.one("since") or ""
    position = Position.read(since, stream) if "." in since else _position(since, executor or 0, stream)
    if position is None:
        given.wrong("since", "must be the id of an event of this stream or, but for combined, a number of bytes")
    given.refuse()
    return _Asked(
        stream=stream,
        executor=executor,
        follow=follow,
        position=position or Position(),
        events=b"text/event-stream" in exchange.headers.get(b"accept", b""),
    )


def _position(since: str, executor: int, stream: Said) -> Position | None:
    """Return where a number of bytes of one stream is; which of two that come as one they were of, it does not say."""
    if not since:
        return Position(0, executor)
    if stream == "combined" or not (since.isdecimal() and len(since) < 16):
        return None
    return Position(0, executor, {stream: int(since)})


def _in_turn(task: StoredTask, position: Position) -> range:
    """Return the executors of a task by number, from the one where a follower was."""
    attempt = task.attempts[-1].number if task.attempts else 0
    first = position.executor if position.attempt in (0, attempt) else 0
    return range(first, _executors(task))


def _executors(task: StoredTask) -> int:
    return len(json.decode(task.body, type=_Body).executors)


class _Body(Struct, frozen=True):
    """Of a task's body what is counted here."""

    executors: tuple[Raw, ...]


def _kept(task: StoredTask, executor: int, stream: Stream) -> Iterator[Piece]:
    """Yield what is kept of an executor's streams, and their ends; nothing where nothing is kept yet."""
    attempt = task.attempts[-1] if task.attempts else None
    if attempt is None or executor >= len(attempt.executors):
        return
    log = attempt.executors[executor]
    sizes = json.decode(attempt.log, type=_Sizes).metadata or {}
    for name in SEPARATE:
        if stream in ("combined", name):
            text = log.stdout if name == "stdout" else log.stderr
            data = json.decode(text, type=str).encode("utf-8", "replace") if text else b""
            said = sizes.get(f"executors.{executor}.{name}_size_bytes", "")
            size = max(int(said) if said.isdecimal() else 0, len(data))
            if data:
                yield Piece(name, size - len(data), data)
            yield Piece(name, size, b"")


class _Sizes(Struct, frozen=True):
    """Of a TaskLog what tells how much was written, where not all is kept."""

    metadata: dict[str, str] | None = None
