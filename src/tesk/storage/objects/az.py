"""`az://account/container/key` and `abfs[s]://container@account.dfs.core.windows.net/key`: how Azure's containers are opened."""

import re
from fnmatch import fnmatchcase
from typing import NoReturn
from urllib.parse import urlsplit

from tesk.errors import TransferRefused
from tesk.settings import AzContainer, StorageSettings
from tesk.storage import address
from tesk.storage.objects.keys import checked_bucket, key_of
from tesk.storage.objects.opened import Opened, Place, client_options, retries
from tesk.storage.objects.stores import AzureStore, StoreScheme
from tesk.storage.patience import Patience
from tesk.storage.proxy import check_url, proxy_of
from tesk.storage.url import scheme_of, shown

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_AUTHORITY = re.compile(r"([^@/]+)@([^./]+)\.(?:dfs|blob)\.core\.windows\.net")


def for_caller(settings: StorageSettings, caller: str) -> StoreScheme:
    """Build the scheme that `caller` gets."""
    known = tuple(one for one in settings.az if not one.callers or caller in one.callers)
    hosts = address.Hosts(settings.hosts_allowed, settings.hosts_denied)
    opened: dict[tuple[str, str], Opened] = {}

    def entry_of(account: str, container: str) -> tuple[AzContainer, bool]:
        """What the settings say of a container, and whether it may be in a private network."""
        entry = next(
            (one for one in known if one.account == account and fnmatchcase(container, one.container)),
            AzContainer(account=account),
        )
        return entry, bool(entry.endpoint) or settings.private_addresses is True

    def check(url: str) -> None:
        entry, private = entry_of(*parts_of(url)[:2])
        address.check_name(urlsplit(_endpoint(entry)).hostname or "", private=private, hosts=hosts)

    def place(url: str) -> Place:
        account, container, key = parts_of(url)
        if (account, container) not in opened:
            entry, private = entry_of(account, container)
            proxy = check_url(_endpoint(entry), proxy_of(settings), private=private, hosts=hosts)
            opened[account, container] = _open(container, entry, settings, proxy)
        return Place(opened[account, container], key)

    return StoreScheme(
        place, check, patience=Patience(settings.tries), connections_per_host=settings.connections_per_host
    )


def parts_of(url: str) -> tuple[str, str, str]:
    """Return account, container and key of a URL. Raises TransferRefused."""
    authority, _, path = url.partition("://")[2].partition("/")
    if scheme_of(url) == "az":
        account, (container, _, path) = authority, path.partition("/")
    else:
        found = _AUTHORITY.fullmatch(authority)
        if found is None:
            raise TransferRefused(
                f"{shown(url)}: such a URL is {scheme_of(url)}://CONTAINER@ACCOUNT.dfs.core.windows.net/KEY"
            )
        container, account = found[1], found[2]
    if not _ACCOUNT.fullmatch(account):
        raise TransferRefused(f"{shown(url)}: no storage account can have the name {account!r}")
    return account, checked_bucket(container, url), key_of(path, url)


def _endpoint(known: AzContainer) -> str:
    return known.endpoint or f"https://{known.account}.blob.core.windows.net"


def _open(container: str, known: AzContainer, settings: StorageSettings, proxy: str) -> Opened:
    anonymous = not known.account_key and not known.sas

    def credential() -> dict[str, str | None]:
        if known.account_key:
            return {"access_key": known.account_key, "expires_at": None}
        if known.sas:
            return {"sas_token": known.sas.removeprefix("?"), "expires_at": None}
        return _nobody()

    def store(times: int) -> AzureStore:
        return AzureStore(
            container,
            # All that decides where and as whom we call is given here: the library would take the rest from variables.
            config={
                "account_name": known.account,
                "endpoint": _endpoint(known),
                "skip_signature": anonymous,
                "use_emulator": False,
                "use_fabric_endpoint": False,
            },
            client_options=client_options(
                plain=known.endpoint.startswith("http:"), timeout_seconds=settings.timeout_seconds, proxy=proxy
            ),
            retry_config=retries(times),
            credential_provider=credential,  # type: ignore[arg-type]  # its type is a union of one dictionary for each kind
        )

    return Opened(store(1), store(settings.tries), f"az container {known.account}/{container}", "storage.az", anonymous)


def _nobody() -> NoReturn:
    """Be asked where there are no credentials: without this the library asks the machine's metadata service."""
    raise TransferRefused("there are no credentials (setting storage.az)")
