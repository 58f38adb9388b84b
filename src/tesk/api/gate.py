"""The way in: whether a request is served at all, what its errors look like, how it is counted."""

import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from tesk.api import browser
from tesk.api.identity import Identity
from tesk.errors import Forbidden, RequestError, Unauthenticated
from tesk.http.browser import Door
from tesk.http.exchange import BUG, Disconnected, Exchange, Handler
from tesk.http.peer import Peers
from tesk.telemetry.metrics import Metrics
from tesk.tes.ids import is_id

_STRANGER = Forbidden(
    "this server has no authentication and serves its own user only; this connection is another user's. "
    "With users or tokens in the settings others may come"
)
_ONLY_LOOKS = Forbidden(
    "who comes with this token, or name and password, may look, and change nothing (setting reads_only)"
)


class Gate:
    """An ASGI application around another one. The routes in `quick` (method and path, `*` for an id) it finds by itself."""

    def __init__(
        self,
        app: ASGIApp,
        quick: Mapping[tuple[str, str], ASGIApp],
        *,
        door: Door,
        peers: Peers | None,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._quick = quick
        self._door = door
        self._peers = peers
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        exchange = Exchange(scope, receive, send)
        refusal = self._refusal(exchange)
        try:
            if refusal is not None:
                await exchange.refuse(refusal)
            elif exchange.cors and scope["method"] == "OPTIONS":
                await exchange.answer(204, b"", browser.PREFLIGHT)
            else:
                scope["tesk.exchange"] = exchange
                await (self._quickly(scope) or self._app)(scope, receive, send)
        finally:
            # How long somebody follows says nothing of how quick we are.
            answered = exchange.begun or time.perf_counter()
            self._metrics.request(exchange.label, scope["method"], exchange.status, answered - began)

    def _quickly(self, scope: Scope) -> ASGIApp | None:
        method, path = scope["method"], scope["path"]
        found = self._quick.get((method, path))
        if found is None and (end := path.rfind("/") + 1) and is_id(path[end:]):
            found = self._quick.get((method, f"{path[:end]}*"))
            scope["path_params"] = {"id": path[end:]}
        return found

    def _refusal(self, exchange: Exchange) -> Forbidden | None:
        scope = exchange.scope
        if self._peers is not None and not self._peers.may_come(scope["client"], scope["server"]):
            return _STRANGER
        refusal = self._door.refusal(exchange.headers, scope["method"])
        if refusal is None and (origin := exchange.headers.get(b"origin")) and self._door.allows(origin):
            exchange.cors = browser.cors_headers(origin)
        return refusal


class Endpoint:
    """One route: who may use it, and what it is called in the metrics. An ASGI application of its own.

    `identity` None: everybody may, and need not say who they are. `changes`: who may only look may not.
    """

    def __init__(self, handler: Handler, label: str, identity: Identity | None, *, changes: bool) -> None:
        self._handler = handler
        self._label = label
        self._changes = changes
        self._identity = identity
        self._challenges = identity.challenges if identity is not None else []

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        exchange: Exchange = scope["tesk.exchange"]
        exchange.label = self._label
        try:
            if self._identity is not None:
                caller = await self._identity.caller(exchange.headers.get(b"authorization"))
                if caller.reads_only and self._changes:
                    raise _ONLY_LOOKS
                exchange.caller = caller
            await self._handler(exchange)
        except RequestError as error:
            await exchange.refuse(error, self._challenges if isinstance(error, Unauthenticated) else None)
        except Disconnected:
            exchange.status = 499
        finally:
            if not exchange.status:
                # We have a bug: the exception goes on into the log, the client gets an answer.
                await exchange.refuse(BUG)
