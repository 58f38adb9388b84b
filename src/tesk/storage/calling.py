"""How other machines are called, by the settings, as the schemes that call them want to know it."""

from typing import TypedDict

from tesk.settings import StorageSettings
from tesk.storage.address import Hosts
from tesk.storage.patience import Patience
from tesk.storage.proxy import Proxy, proxy_of


class Calling(TypedDict):
    """`private`: loopback and private networks may be called; `hosts`: see `address`. A silence of `timeout_seconds` is a broken line."""

    patience: Patience
    connections_per_host: int
    timeout_seconds: float
    private: bool
    hosts: Hosts


class WebCalling(Calling):
    """The same for what speaks HTTP."""

    proxy: Proxy | None


def calling(settings: StorageSettings) -> Calling:
    """Return what the settings say."""
    return Calling(
        patience=Patience(settings.tries),
        connections_per_host=settings.connections_per_host,
        timeout_seconds=settings.timeout_seconds,
        private=settings.private_addresses is True,
        hosts=Hosts(settings.hosts_allowed, settings.hosts_denied),
    )


def web_calling(settings: StorageSettings) -> WebCalling:
    """Return what the settings say. Raises TransferRefused for a proxy that is none."""
    return WebCalling(**calling(settings), proxy=proxy_of(settings))
