"""The five operations of TES over HTTP."""

import asyncio
import hashlib
import time
from collections.abc import Sequence

from tesk import operations
from tesk.api.deadline import Deadlines
from tesk.api.exchange import JSON, Exchange
from tesk.caller import LOCAL, Caller
from tesk.errors import BadRequest, Overloaded, Problem, Unavailable, UnsupportedMedia
from tesk.settings import Settings
from tesk.store.rows import StoredTask
from tesk.store.store import Store
from tesk.telemetry.metrics import Metrics
from tesk.tes import messages, parameters
from tesk.tes.ids import Ids
from tesk.tes.state import TERMINAL, State
from tesk.tes.validation import Accepted, accept
from tesk.tes.view import View, render

_PATIENCE_SECONDS = 4.0
"""How long the store may take for a POST: after 10 s clients send it again, to three paths."""
_CLOSED_SECONDS = 5.0
"""How long nothing new is taken after the store took longer."""
_BODY_SECONDS = 60.0
"""How long a body may be on its way."""
_KEY_LENGTH = 255
_LARGE_BYTES = 256 * 1024
"""A larger body is read beside the loop: a strange one of 8 MiB takes seconds, in which others are to be served."""
_EMPTY = b"{}"


class Tes:
    """Serves tasks of one store. `closing` is set when the server ends: nobody is kept waiting then."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        parameters: Sequence[str],
        storage: Sequence[str],
        metrics: Metrics,
        closing: asyncio.Event,
    ) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._closing = closing
        self._supported = frozenset(parameter.lower() for parameter in parameters)
        self._ids: Ids | None = None
        self._pending = 0
        self._deadlines = Deadlines()
        self._closed_until = 0.0
        info = operations.get_service_info(settings, parameters=tuple(sorted(self._supported)), storage=tuple(storage))
        self._service_info = messages.encode(info)
        self._old_service_info = messages.encode(
            messages.OldServiceInfo(name=info.name, doc=info.description or "", storage=info.storage)
        )

    async def service_info(self, exchange: Exchange) -> None:
        """GetServiceInfo."""
        await exchange.answer(200, self._service_info)

    async def old_service_info(self, exchange: Exchange) -> None:
        """What clients of TES 0.x ask."""
        await exchange.answer(200, self._old_service_info)

    async def create(self, exchange: Exchange) -> None:
        """CreateTask. Answers 429 before anything is read, or stored, where too much is under way."""
        if self._pending >= self._settings.server.pending_limit or time.monotonic() < self._closed_until:
            raise Overloaded("the server takes no more tasks right now: send this one again", retry_after_seconds=2)
        self._pending += 1
        try:
            await self._create(exchange)
        finally:
            self._pending -= 1

    async def _create(self, exchange: Exchange) -> None:
        headers = exchange.headers
        _require_json(headers.get(b"content-type"), headers.get(b"content-encoding"))
        raw = await self._body(exchange)
        accepted = self._accept(raw) if len(raw) < _LARGE_BYTES else await asyncio.to_thread(self._accept, raw)
        key = _idempotency_key(headers.get(b"idempotency-key"))
        try:
            with self._deadlines.within(_PATIENCE_SECONDS):
                created = await operations.create_task(
                    self._store,
                    self._ids or await self._make_ids(),
                    self._settings.defaults,
                    exchange.caller or LOCAL,
                    accepted,
                    now=time.time(),
                    idempotency_key=key,
                    body_hash=b"" if key is None else hashlib.sha256(raw).digest(),
                )
        except TimeoutError:
            self._closed_until = time.monotonic() + _CLOSED_SECONDS
            raise _slow("the task may have been stored, or not") from None
        if not created.repeated:
            self._metrics.submitted()
        await exchange.answer(200, messages.create_task(created.id))

    def _accept(self, raw: bytes) -> Accepted:
        return accept(raw, parameters=self._supported, content_limit_bytes=self._settings.limits.content_bytes)

    async def _body(self, exchange: Exchange) -> bytes:
        try:
            with self._deadlines.within(_BODY_SECONDS):
                return await exchange.body(self._settings.server.body_limit_bytes)
        except TimeoutError:
            raise BadRequest(f"the body did not come within {_BODY_SECONDS:g} s") from None

    async def _make_ids(self) -> Ids:
        newest = await self._store.newest_id()
        if self._ids is None:
            self._ids = Ids(newest)
        return self._ids

    async def list(self, exchange: Exchange) -> None:
        """ListTasks."""
        asked = parameters.list_tasks(exchange.scope["query_string"])
        page = await operations.list_tasks(self._store, exchange.caller or LOCAL, asked)
        body = messages.list_tasks([render(task, asked.view) for task in page.tasks], page.next_before)
        await exchange.answer(200, body)

    async def get(self, exchange: Exchange) -> None:
        """GetTask; with `wait`, once the task has left the state that `If-None-Match` names, or the one it is in."""
        asked = parameters.get_task(exchange.scope["query_string"])
        task_id: str = exchange.scope["path_params"]["id"]
        caller = exchange.caller or LOCAL
        # An ETag is of the state. Only with MINIMAL does it say all; with more, the rest may change in a state.
        tags = (
            exchange.headers.get(b"if-none-match", b"")
            if asked.wait_seconds is not None or asked.view is View.MINIMAL
            else b""
        )
        seen = await operations.get_task(
            self._store, caller, task_id, asked.view if asked.wait_seconds is None else View.MINIMAL
        )
        if asked.wait_seconds is not None:
            if (not tags or _names(tags, seen.state)) and seen.state not in TERMINAL:
                seen = await self._left(exchange, caller, seen, asked.wait_seconds)
            if asked.view is not View.MINIMAL:
                seen = await operations.get_task(self._store, caller, task_id, asked.view)
        headers = [*JSON, (b"etag", b'%b"%b"' % (b"" if asked.view is View.MINIMAL else b"W/", seen.state.encode()))]
        if tags and _names(tags, seen.state):
            await exchange.answer(304, b"", headers)
        else:
            await exchange.answer(200, render(seen, asked.view), headers)

    async def _left(self, exchange: Exchange, caller: Caller, seen: StoredTask, seconds: float) -> StoredTask:
        """Return the task once it has left the state in which it was seen, or when the time is up, or nobody waits."""
        loop = asyncio.get_running_loop()
        end = loop.time() + min(seconds, self._settings.server.wait_limit_seconds)
        first = seen.state
        gone = loop.create_task(exchange.gone())
        closing = loop.create_task(self._closing.wait())
        try:
            while (left := end - loop.time()) > 0 and seen.state is first:
                changed = loop.create_task(self._store.changed(seen.id, first, left))
                try:
                    await asyncio.wait((changed, gone, closing), return_when=asyncio.FIRST_COMPLETED)
                    if not changed.done():
                        break
                    changed.result()
                finally:
                    changed.cancel()
                seen = await operations.get_task(self._store, caller, seen.id, View.MINIMAL)
        finally:
            gone.cancel()
            closing.cancel()
        return seen

    async def cancel(self, exchange: Exchange) -> None:
        """CancelTask. A body says nothing, whatever it is."""
        task_id: str = exchange.scope["path_params"]["id"]
        try:
            with self._deadlines.within(_PATIENCE_SECONDS):
                await operations.cancel_task(self._store, exchange.caller or LOCAL, task_id, time.time())
        except TimeoutError:
            raise _slow("the task may have been canceled, or not") from None
        await exchange.answer(200, _EMPTY)


def _slow(what: str) -> Unavailable:
    return Unavailable(f"the database takes too long; {what}", retry_after_seconds=int(_CLOSED_SECONDS))


def _require_json(content_type: bytes | None, encoding: bytes | None) -> None:
    """Refuse what a form of a web page could send, and what we cannot read."""
    kind = (content_type or b"").partition(b";")[0].strip().lower()
    if kind != b"application/json" and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
        said = "no Content-Type" if content_type is None else f"Content-Type {kind[:80].decode('latin-1')!r}"
        raise UnsupportedMedia(f"a task is sent with Content-Type application/json; this came with {said}")
    if encoding is not None and encoding.lower() != b"identity":
        raise UnsupportedMedia("a task is sent as it is, without Content-Encoding")


def _idempotency_key(given: bytes | None) -> str | None:
    if given is None:
        return None
    key = given.decode("latin-1").strip()
    if not key or len(key) > _KEY_LENGTH or not (key.isascii() and key.isprintable()):
        wrong = f"must be 1 to {_KEY_LENGTH} printable characters of ASCII"
        raise BadRequest(f"Idempotency-Key {wrong}", (Problem("Idempotency-Key", wrong),))
    return key


def _names(tags: bytes, state: State) -> bool:
    """Say whether an If-None-Match names this state."""
    quoted = b'"%b"' % state.encode()
    return any(tag.strip().removeprefix(b"W/") in (quoted, b"*") for tag in tags.split(b","))
