"""Many tasks in one request: `POST /tesk/v1/tasks:batch`. Each is answered in its place; with `?atomic=true` it is all or none.

Tasks are taken by slices, of which a few are under way at a time whoever sent them: so batches share the store fairly, and
a task that comes alone waits for no more than these.
"""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from tesk import operations
from tesk.api.create import (
    LARGE_BYTES,
    PATIENCE_SECONDS,
    URL_HEADER,
    Create,
    idempotency_key,
    require_json,
)
from tesk.api.places import Outcome, Places, problems_in
from tesk.caller import LOCAL, Caller
from tesk.errors import BadRequest, Overloaded, Problem, RequestError, TooLarge
from tesk.http.exchange import BODY_SETTING, JSON, Exchange, body_in_time
from tesk.settings import Settings
from tesk.store.rows import Callback, NewTask
from tesk.store.store import Store
from tesk.telemetry.metrics import Metrics
from tesk.tes import batch, messages
from tesk.tes.document import MOST_COUNTED, bad_task
from tesk.tes.ids import following
from tesk.tes.parameters import Given

LINES = b"application/x-ndjson"
_KINDS = (LINES, b"application/ndjson", b"application/jsonl")
_AT_ONCE = 4
"""Batches in memory at a time."""
_TURNS = 2
_SLICE = 512
"""Tasks of one slice, which is one commit: some ten milliseconds of the store."""
_SLICE_BYTES = 4 * 1024 * 1024
_BREATH = 64
"""Tasks that are read at a stretch: a millisecond, in which nobody else is served."""
_WHOLE_SECONDS = 30.0
"""How long the store may take for all of a batch in one transaction."""
_Numbered = tuple[str, bytes]
"""A task as it came, and the id that it gets."""


class Batch:
    """Takes many tasks at once into one store."""

    def __init__(self, store: Store, create: Create, settings: Settings, *, metrics: Metrics) -> None:
        self._store = store
        self._create = create
        self._settings = settings
        self._metrics = metrics
        self._running = 0
        self._turns = asyncio.Semaphore(_TURNS)

    async def create(self, exchange: Exchange) -> None:
        """Answer 429 before anything is read, where too much is under way."""
        if self._running >= _AT_ONCE or self._create.is_closed():
            raise Overloaded("the server takes no more tasks right now: send this batch again", retry_after_seconds=2)
        self._running += 1
        try:
            await self._take(exchange)
        finally:
            self._running -= 1

    async def _take(self, exchange: Exchange) -> None:
        headers, caller = exchange.headers, exchange.caller or LOCAL
        kind = require_json(
            headers.get(b"content-type"), headers.get(b"content-encoding"), what="tasks are", also=_KINDS
        )
        atomic, key = _atomic(exchange), idempotency_key(headers.get(b"idempotency-key"))
        limit = self._settings.server.batch_body_limit_bytes
        raw = await body_in_time(self._create.deadlines, exchange, limit, "server.batch_body_limit_bytes")
        split = partial(batch.of_lines if kind in _KINDS else batch.of_json, raw, self._settings.limits.batch_tasks)
        tasks = split() if len(raw) < LARGE_BYTES else await asyncio.to_thread(split)
        if not tasks:
            raise BadRequest("there is no task in this batch", (Problem("tasks", "must hold at least one task"),))
        now = time.time()
        first, repeated = (await self._create.ids()).reserve(now, len(tasks)), False
        if key is not None:
            # The ids of all follow from the one that is kept under the key. It is none of a task, lest it go with that.
            digest = await asyncio.to_thread(_digest, raw, b"batch", b"%d" % atomic, headers.get(URL_HEADER) or b"")
            kept = await self._store.remember(caller.name, key, digest, first, now)
            first, repeated = kept, kept != first
        del raw, split
        reading = _Reading(self._create, self._settings, caller, headers.get(URL_HEADER), now)
        numbered = zip(following(first, len(tasks)), tasks, strict=True)
        if atomic:
            await self._whole(exchange, reading, [*numbered])
        else:
            await self._each(exchange, _Way(reading, repeated=repeated), [*numbered])

    # -- each by itself ----------------------------------------------------------------------------------------------------

    async def _each(self, exchange: Exchange, way: "_Way", tasks: Sequence[_Numbered]) -> None:
        """Answer lines where they are wanted, as soon as a task is stored; else a list at the end."""
        places, answers = Places(), list[bytes]()
        lines = LINES in exchange.headers.get(b"accept", b"")
        async with aclosing(self._slices(way, tasks)) as slices:
            async for some in slices:
                answers += map(places.next, some)
                if lines and places.stored:
                    if not exchange.status:
                        exchange.status = 200
                        kind = [(b"content-type", LINES), *JSON[1:], *exchange.cors]
                        await exchange.send({"type": "http.response.start", "status": 200, "headers": kind})
                    body = b"\n".join(answers) + b"\n"
                    await exchange.send({"type": "http.response.body", "body": body, "more_body": True})
                    answers.clear()
        if exchange.status:
            await exchange.send({"type": "http.response.body", "body": b""})
        elif places.stored:
            await exchange.answer(200, _list(answers))
        else:
            status, headers, body = places.refusal(answers)
            await exchange.answer(status, body, headers)

    async def _slices(self, way: "_Way", tasks: Sequence[_Numbered]) -> AsyncGenerator[list[Outcome]]:
        """Yield what becomes of each slice. The next one is read while one is stored."""
        under_way = deque[asyncio.Task[list[Outcome]]]()
        try:
            for some in _sliced(tasks):
                await self._turns.acquire()
                under_way.append(asyncio.create_task(self._slice(way, some)))
                if len(under_way) >= _TURNS:
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _slice(self, way: "_Way", tasks: Sequence[_Numbered]) -> list[Outcome]:
        try:
            read = await way.reading.slice(tasks)
            refused = await self._store_all(way, [each for each in read if isinstance(each, NewTask)])
        finally:
            self._turns.release()
        return [refused.get(each.id, each.id) if isinstance(each, NewTask) else each for each in read]

    async def _store_all(self, way: "_Way", news: Sequence[NewTask]) -> dict[str, RequestError]:
        """Store tasks; return why those are not stored that are not. Once the store takes no more, nothing is tried."""
        try:
            if way.ended is not None:
                raise way.ended
            if way.repeated and news:
                known = await self._store.standing([new.id for new in news])
                news = [new for new in news if new.id not in known]
            if news:
                await self._store_whole(news, PATIENCE_SECONDS)
        except RequestError as error:
            way.ended = error
            return dict.fromkeys([new.id for new in news], error)
        return {}

    async def _store_whole(self, news: Sequence[NewTask], patience_seconds: float) -> None:
        try:
            with self._create.deadlines.within(patience_seconds):
                created = await self._store.create_all(news)
        except TimeoutError:
            raise self._create.too_slow() from None
        self._metrics.submitted(sum(not each.repeated for each in created))

    # -- all or none -------------------------------------------------------------------------------------------------------

    async def _whole(self, exchange: Exchange, reading: "_Reading", tasks: Sequence[_Numbered]) -> None:
        news, problems, place = list[NewTask](), list[Problem](), 0
        for some in _sliced(tasks):
            async with self._turns:
                for each in await reading.slice(some):
                    if isinstance(each, NewTask):
                        news.append(each)
                    else:
                        problems += problems_in(place, each)
                    place += 1
            if len(problems) > MOST_COUNTED:
                break
        if problems:
            raise bad_task(problems, "this batch, of which all tasks are stored or none")
        async with self._turns:
            await self._store_whole(news, _WHOLE_SECONDS)
        await exchange.answer(200, _list([messages.create_task(new.id) for new in news]))


class _Reading:
    """Reads the tasks of one batch: what is the same for all of them."""

    def __init__(self, create: Create, settings: Settings, caller: Caller, header: bytes | None, now: float) -> None:
        self._create = create
        self._settings = settings
        self._caller = caller
        self._header = header
        self._now = now
        self._callbacks: dict[str | None, Callback | None] = {}
        """By URL: mostly it is the same one."""

    async def slice(self, tasks: Sequence[_Numbered]) -> list[NewTask | RequestError]:
        """Return each as it is to be stored, or what is wrong with it. Large ones are read beside the loop."""
        read = list[NewTask | RequestError]()
        for start in range(0, len(tasks), _BREATH):
            some = tasks[start : start + _BREATH]
            if any(len(raw) > LARGE_BYTES for _, raw in some):
                read += await asyncio.to_thread(self._read_all, some)
            else:
                read += self._read_all(some)
                await asyncio.sleep(0)
        return read

    def _read_all(self, tasks: Sequence[_Numbered]) -> list[NewTask | RequestError]:
        return [self._read(*each) for each in tasks]

    def _read(self, task_id: str, raw: bytes) -> NewTask | RequestError:
        limit = self._settings.server.body_limit_bytes
        if len(raw) > limit:
            return TooLarge(f"this task is larger than {limit} bytes ({BODY_SETTING})")
        try:
            accepted = self._create.accept(raw, self._caller)
            url = accepted.callback_url
            if url not in self._callbacks:
                self._callbacks[url] = self._create.callback(accepted, self._header, self._caller)
        except RequestError as error:
            return error
        return operations.new_task(
            task_id, self._settings.defaults, self._caller, accepted, now=self._now, callback=self._callbacks[url]
        )


@dataclass(slots=True)
class _Way:
    """How far a batch has come whose tasks are stored each by itself. `ended`: why none of the rest is tried."""

    reading: _Reading
    repeated: bool
    ended: RequestError | None = None


def _sliced(tasks: Sequence[_Numbered]) -> Iterator[Sequence[_Numbered]]:
    """Part tasks into slices."""
    start = size = 0
    for end, (_, raw) in enumerate(tasks):
        if end - start == _SLICE or (end > start and size + len(raw) > _SLICE_BYTES):
            yield tasks[start:end]
            start, size = end, 0
        size += len(raw)
    yield tasks[start:]


def _list(answers: Sequence[bytes]) -> bytes:
    return b'{"tasks":[%b]}' % b",".join(answers)


def _digest(*parts: bytes) -> bytes:
    """Return a hash of the parts, whose lengths keep them apart."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d," % len(part))
        digest.update(part)
    return digest.digest()


def _atomic(exchange: Exchange) -> bool:
    given = Given(exchange.scope["query_string"])
    atomic = given.flag("atomic")
    given.refuse()
    return atomic
