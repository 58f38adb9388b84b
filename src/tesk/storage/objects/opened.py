"""Buckets of Google's and containers of Azure's as obstore opens them: with which patience, and what their ETags are."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from tesk.storage.objects.checksum import Checksum

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig


class Opened(NamedTuple):
    """A bucket or container. `patient` is for uploads in parts: they are not begun anew for each 503.

    `name` and `setting` are for messages; `anonymous`: no credentials are known; `checksum` says with what an object is
    verified, by its key, its ETag and its size in bytes.
    """

    store: "GCSStore | AzureStore"
    patient: "GCSStore | AzureStore"
    name: str
    setting: str
    anonymous: bool
    checksum: Callable[[str, str, int], Checksum | None]


class Place(NamedTuple):
    """Where an object is; `key` is "" for all of the bucket, and ends with `/` for what can only be a folder."""

    opened: Opened
    key: str


def client_options(*, plain: bool, timeout_seconds: float, proxy: str = "") -> "ClientConfig":
    """Return how obstore calls: no limit to how long a transfer takes, but to how long the server is silent."""
    silence = timedelta(seconds=timeout_seconds)
    through: ClientConfig = {"proxy_url": proxy} if proxy else {}
    whole = timedelta(days=30)
    return {"allow_http": plain, "timeout": whole, "read_timeout": silence, "connect_timeout": silence, **through}


def retries(tries: int) -> "RetryConfig":
    """Return how often obstore tries by itself."""
    return {"max_retries": tries - 1, "retry_timeout": timedelta(minutes=5)}
