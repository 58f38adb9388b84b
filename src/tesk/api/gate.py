"""The way in: whether a request is served at all, what its errors look like, how it is counted."""

import time

from starlette.types import ASGIApp, Receive, Scope, Send

from tesk.api import browser
from tesk.api.exchange import Disconnected, Exchange, Handler
from tesk.api.identity import Identity
from tesk.api.peer import Peers
from tesk.errors import Forbidden, RequestError, Unauthenticated
from tesk.telemetry.metrics import Metrics

_STRANGER = Forbidden(
    "this server has no authentication and serves its own user only; this connection is another user's. "
    "With users or tokens in the settings others may come"
)


class Gate:
    """ASGI middleware, the outermost of ours."""

    def __init__(
        self, app: ASGIApp, door: browser.Door, peers: Peers | None, identity: Identity, metrics: Metrics
    ) -> None:
        self._app = app
        self._door = door
        self._peers = peers
        self._identity = identity
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        exchange = Exchange(scope, receive, send)
        try:
            refusal = self._refusal(exchange)
            if refusal is not None:
                await exchange.refuse(refusal)
            elif exchange.cors and scope["method"] == "OPTIONS":
                await exchange.answer(204, b"", browser.PREFLIGHT)
            else:
                scope["tesk.exchange"] = exchange
                await self._app(scope, receive, send)
        except Unauthenticated as error:
            await exchange.refuse(error, self._identity.challenges)
        except RequestError as error:
            await exchange.refuse(error)
        except Disconnected:
            exchange.status = 499
        finally:
            # Without a status it broke: the answer is a 500, which is made outside of this.
            self._metrics.request(
                exchange.label or "other", scope["method"], exchange.status or 500, time.perf_counter() - began
            )

    def _refusal(self, exchange: Exchange) -> Forbidden | None:
        scope = exchange.scope
        if self._peers is not None and not self._peers.may_come(scope["client"], scope["server"]):
            return _STRANGER
        refusal = self._door.refusal(exchange.headers, scope["method"])
        if refusal is None and (origin := exchange.headers.get(b"origin")) and self._door.allows(origin):
            exchange.cors = browser.cors_headers(origin)
        return refusal


class Endpoint:
    """One route: who may use it, and what it is called in the metrics. An ASGI application of its own."""

    def __init__(self, handler: Handler, label: str, identity: Identity | None) -> None:
        self._handler = handler
        self._label = label
        self._identity = identity

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        exchange: Exchange = scope["tesk.exchange"]
        exchange.label = self._label
        if self._identity is not None:
            exchange.caller = await self._identity.caller(exchange.headers.get(b"authorization"))
        await self._handler(exchange)
