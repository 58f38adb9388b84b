"""From a store and settings to the HTTP application."""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette

from tesk.settings import Settings
from tesk.store.store import Store
from tesk.telemetry.metrics import Metrics


def create_app(
    store: Store,
    settings: Settings,
    *,
    alive: Callable[[], bool],
    parameters: Sequence[str],
    backend: str,
    public_storage: Sequence[str],
    metrics: Metrics | None = None,
) -> Starlette:
    """Return the application. The store is open before the first request. Raises SettingsError.

    `alive` says whether the controller does its rounds; `parameters` are the backend parameters that are supported, in
    lower case; `public_storage` are the storage locations that service-info tells everybody; `metrics` is what
    `/metrics` shows (the store's `committed` and the controller may add to it).
    """
    raise NotImplementedError
