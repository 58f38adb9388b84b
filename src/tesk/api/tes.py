"""The operations of TES over HTTP, but for CreateTask."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from tesk import operations
from tesk.api.again import Reads
from tesk.api.create import PATIENCE_SECONDS, slow
from tesk.caller import LOCAL, Caller
from tesk.http.deadline import Deadlines
from tesk.http.exchange import JSON, Exchange, Headers
from tesk.settings import Settings
from tesk.store.rendered import Rendered, RenderedTask
from tesk.store.store import Store
from tesk.telemetry.metrics import Metrics
from tesk.tes import messages, parameters
from tesk.tes.state import TERMINAL, State
from tesk.tes.view import View

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
        closing: asyncio.Event,
        metrics: Metrics,
    ) -> None:
        self._reads = Reads(metrics)
        self._store = store
        self._rendered = Rendered(store)
        self._settings = settings
        self._closing = closing
        self._deadlines = Deadlines()
        info = operations.get_service_info(settings, parameters=tuple(parameters), storage=tuple(storage))
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

    async def list(self, exchange: Exchange) -> None:
        """ListTasks."""
        asked = parameters.list_tasks(exchange.scope["query_string"])
        read = partial(self._listed, exchange.caller or LOCAL, asked)
        status, headers, body = await read()
        await exchange.answer(status, body, headers)
        if exchange.scope["method"] == "GET":
            exchange.goes_again(self._reads.again("/tasks", read))

    async def _listed(self, caller: Caller, asked: parameters.ListTasks) -> tuple[int, Headers, bytes]:
        page = await operations.list_tasks(self._rendered, caller, asked)
        return 200, JSON, messages.list_tasks(page.tasks, page.next_before)

    async def get(self, exchange: Exchange) -> None:
        """GetTask; with `wait`, once the task has left the state that `If-None-Match` names, or the one it is in."""
        asked = parameters.get_task(exchange.scope["query_string"])
        if asked.wait_seconds is None and b"if-none-match" not in exchange.headers:
            await self._get_plainly(exchange, asked.view)
        else:
            await self._get(exchange, asked)

    async def _get_plainly(self, exchange: Exchange, view: View) -> None:
        read = partial(self._shown, exchange.caller or LOCAL, exchange.scope["path_params"]["id"], view)
        status, headers, body = await read()
        await exchange.answer(status, body, headers)
        if exchange.scope["method"] == "GET":
            exchange.goes_again(self._reads.again("/tasks/{id}", read))

    async def _shown(self, caller: Caller, task_id: str, view: View) -> tuple[int, Headers, bytes]:
        seen = await operations.get_task(self._rendered, caller, task_id, view)
        return 200, _tagged(seen.state, view), seen.json

    async def _get(self, exchange: Exchange, asked: parameters.GetTask) -> None:
        task_id: str = exchange.scope["path_params"]["id"]
        caller = exchange.caller or LOCAL
        # An ETag is of the state. Only with MINIMAL does it say all; with more, the rest may change in a state.
        tags = (
            exchange.headers.get(b"if-none-match", b"")
            if asked.wait_seconds is not None or asked.view is View.MINIMAL
            else b""
        )
        seen = await operations.get_task(
            self._rendered, caller, task_id, asked.view if asked.wait_seconds is None else View.MINIMAL
        )
        if asked.wait_seconds is not None:
            if (not tags or _names(tags, seen.state)) and seen.state not in TERMINAL:
                seen = await self._left(exchange, caller, task_id, seen, asked.wait_seconds)
            if asked.view is not View.MINIMAL:
                seen = await operations.get_task(self._rendered, caller, task_id, asked.view)
        headers = _tagged(seen.state, asked.view)
        if tags and _names(tags, seen.state):
            await exchange.answer(304, b"", headers)
        else:
            await exchange.answer(200, seen.json, headers)

    async def _left(
        self, exchange: Exchange, caller: Caller, task_id: str, seen: RenderedTask, seconds: float
    ) -> RenderedTask:
        """Return the task once it has left the state in which it was seen, or when the time is up, or nobody waits."""
        loop = asyncio.get_running_loop()
        end = loop.time() + min(seconds, self._settings.server.wait_limit_seconds)
        first = seen.state
        gone = loop.create_task(exchange.gone())
        closing = loop.create_task(self._closing.wait())
        try:
            while (left := end - loop.time()) > 0 and seen.state is first:
                changed = loop.create_task(self._store.changed(task_id, first, left))
                try:
                    await asyncio.wait((changed, gone, closing), return_when=asyncio.FIRST_COMPLETED)
                    if not changed.done():
                        break
                    changed.result()
                finally:
                    changed.cancel()
                seen = await operations.get_task(self._rendered, caller, task_id, View.MINIMAL)
        finally:
            gone.cancel()
            closing.cancel()
        return seen

    async def cancel(self, exchange: Exchange) -> None:
        """CancelTask. A body says nothing, whatever it is."""
        task_id: str = exchange.scope["path_params"]["id"]
        try:
            with self._deadlines.within(PATIENCE_SECONDS):
                await operations.cancel_task(self._store, exchange.caller or LOCAL, task_id, time.time())
        except TimeoutError:
            raise slow("the task may have been canceled, or not") from None
        await exchange.answer(200, _EMPTY)


def _tagged(state: State, view: View) -> Headers:
    return [*JSON, (b"etag", b'%b"%b"' % (b"" if view is View.MINIMAL else b"W/", state.encode()))]


def _names(tags: bytes, state: State) -> bool:
    """Say whether an If-None-Match names this state."""
    quoted = b'"%b"' % state.encode()
    return any(tag.strip().removeprefix(b"W/") in (quoted, b"*") for tag in tags.split(b","))
