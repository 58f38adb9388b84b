"""From a store and settings to the HTTP application."""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tesk.api.batch import Batch
from tesk.api.browser import door
from tesk.api.cancel import Cancel
from tesk.api.create import Check, Create, Subscribe
from tesk.api.deliveries import Deliveries
from tesk.api.document import Document
from tesk.api.events import Events
from tesk.api.extensions import Extensions
from tesk.api.gate import Endpoint, Gate
from tesk.api.health import Health
from tesk.api.identity import Identity
from tesk.api.live import Live, Logs
from tesk.api.tes import Tes
from tesk.http.browser import Door
from tesk.http.exchange import Exchange, Handler
from tesk.http.peer import Peers
from tesk.settings import Settings
from tesk.store.store import Store
from tesk.telemetry.metrics import Metrics
from tesk.telemetry.rush import Rush
from tesk.tes import messages

BASES = ("/ga4gh/tes/v1", "/v1")
OURS = "/tesk/v1"


def create_app(
    store: Store,
    settings: Settings,
    *,
    alive: Callable[[], bool],
    parameters: Sequence[str],
    backend: str,
    public_storage: Sequence[str],
    live: Live | None = None,
    metrics: Metrics | None = None,
    closing: asyncio.Event | None = None,
    check: Check | None = None,
    subscribe: Subscribe | None = None,
    rush: Rush | None = None,
) -> Starlette:
    """Return the application. The store is open before the first request. Raises SettingsError.

    `alive` says whether the controller does its rounds; `parameters` are the backend parameters that are supported, in
    lower case; `public_storage` are the storage locations that service-info tells everybody; `live` is
    the backend where it is at work in this program; `metrics` is what
    `/metrics` shows (the store's `committed` and the controller may add to it); who sets `closing` sends those home who
    wait for a task; `check` says what the backend cannot do of what a task asks for, before it is stored;
    `subscribe` judges the URL of a callback (None: there are none, and a task's is ignored); `rush` counts the
    submissions that are under way.

    It trusts `scope["client"]`: serve it without proxy headers.
    """
    metrics, closing = metrics or Metrics(), closing or asyncio.Event()
    identity = Identity(settings.auth)
    supported = tuple(sorted(parameters))
    tes = Tes(
        store,
        settings,
        parameters=supported,
        storage=public_storage,
        closing=closing,
        metrics=metrics,
    )
    create = Create(store, settings, parameters=supported, metrics=metrics, check=check, subscribe=subscribe, rush=rush)
    ours = Extensions(
        store, settings, parameters_=supported, backend=backend, live=live, callbacks=subscribe is not None
    )
    batch = Batch(store, create, settings, metrics=metrics)
    deliveries = Deliveries(store)
    events = Events(store, closing, settings.server, metrics)
    logs = Logs(store, live, closing, settings.server)
    health = Health(store, alive, metrics)

    asks = (events.named,)

    def route(method: str, path: str, handler: Handler, *, label: str = "", open_to_all: bool = False) -> Route:
        changes = method != "GET" and handler not in asks
        endpoint = Endpoint(handler, label or path, None if open_to_all else identity, changes=changes)
        return Route(path, endpoint, methods=[method])

    routes = [
        route(method, base + path, handler, label=path)
        for method, path, handler in (
            ("POST", "/tasks", create.create),
            ("GET", "/tasks", tes.list),
            ("POST", "/tasks/{id}:cancel", tes.cancel),
        )
        for base in BASES
    ]
    routes.append(route("GET", "/v1/tasks/service-info", tes.old_service_info, open_to_all=True))
    routes += [route("GET", base + "/tasks/{id}", tes.get, label="/tasks/{id}") for base in BASES]
    for base in BASES:
        routes.append(route("GET", base + "/service-info", tes.service_info, label="/service-info", open_to_all=True))
    routes += [
        route("POST", OURS + "/tasks:batch", batch.create),
        route("POST", OURS + "/tasks:cancel", Cancel(store).cancel),
        route("GET", OURS + "/tasks/{id}", ours.task),
        route("GET", OURS + "/events", events.some),
        route("POST", OURS + "/events", events.named),
        route("GET", OURS + "/tasks/{id}/events", events.task),
        route("GET", OURS + "/tasks/{id}/logs", logs.logs),
        route("GET", OURS + "/tasks/{id}/deliveries", deliveries.show),
        route("POST", OURS + "/tasks/{id}/deliveries:redeliver", deliveries.redeliver),
        route("GET", OURS + "/service-info", ours.service_info, open_to_all=True),
        route("GET", "/livez", health.livez, open_to_all=True),
        route("GET", "/readyz", health.readyz, open_to_all=True),
        route("GET", "/metrics", health.metrics, open_to_all=True),
    ]
    for base, name in ((BASES[0], "tes"), (BASES[1], "tes"), (OURS, "tesk")):
        document = Document(name, base)
        routes.append(route("GET", base + "/openapi.json", document.json, label="/openapi.json", open_to_all=True))
        routes.append(route("GET", base + "/docs", document.page, label="/docs", open_to_all=True))
    loopback_only = not (identity.required or settings.server.insecure)
    return _App(
        routes,
        door=door(settings),
        peers=Peers() if loopback_only else None,
        metrics=metrics,
    )


class _App(Starlette):
    """Starlette behind our gate, which finds by itself what is asked all the time."""

    def __init__(self, routes: Sequence[Route], *, door: Door, peers: Peers | None, metrics: Metrics) -> None:
        super().__init__(routes=routes, exception_handlers={HTTPException: _http_error})
        self.router.redirect_slashes = False
        quick = {
            (method, each.path.replace("{id}", "*")): each.app
            for each in routes
            for method in each.methods or ()
            if each.path.endswith(("/tasks", "/tasks/{id}"))
        }
        self._gate = Gate(super().__call__, quick, door=door, peers=peers, metrics=metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gate(scope, receive, send)


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer 404 and 405 as all errors are answered."""
    assert isinstance(error, HTTPException)
    detail = f"there is no {request.url.path[:200]}" if error.status_code == HTTPStatus.NOT_FOUND else error.detail
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.url.path[:200]} is not asked with {request.method[:20]}"
    exchange: Exchange = request.scope["tesk.exchange"]
    exchange.status = error.status_code
    body = messages.error(error.status_code, HTTPStatus(error.status_code).phrase.capitalize(), detail)
    headers = {name.decode(): value.decode("latin-1") for name, value in exchange.cors} | dict(error.headers or {})
    return Response(body, error.status_code, headers, "application/json")
