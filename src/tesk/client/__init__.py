"""A Python client for any TES 1.1 server, asynchronous and plain."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tesk.client.bulk import Canceled
    from tesk.client.client import AsyncClient, Client
    from tesk.client.patience import Patience
    from tesk.client.results import ServedTask, ServiceInfo, TaskEvent

__all__ = ["AsyncClient", "Canceled", "Client", "Patience", "ServedTask", "ServiceInfo", "TaskEvent"]

_WHERE = {
    "AsyncClient": "tesk.client.client",
    "Canceled": "tesk.client.bulk",
    "Client": "tesk.client.client",
    "Patience": "tesk.client.patience",
    "ServedTask": "tesk.client.results",
    "ServiceInfo": "tesk.client.results",
    "TaskEvent": "tesk.client.results",
}


def __getattr__(name: str) -> object:
    # Late, since the commands that need no types (`tesk list`) start in half the time without msgspec and asyncio.
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)
