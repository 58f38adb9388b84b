"""`az://account/container/key` and `abfs[s]://container@account.dfs.core.windows.net/key`: how Azure's containers are opened."""

import hmac
import re
import time
from base64 import b64decode, b64encode
from fnmatch import fnmatchcase
from typing import NoReturn
from urllib.parse import urlsplit

from tesk.errors import TransferRefused
from tesk.settings import AzContainer, StorageSettings
from tesk.storage import address
from tesk.storage.objects.checksum import Checksum
from tesk.storage.objects.keys import checked_bucket, key_of, quoted
from tesk.storage.objects.opened import Opened, Place, client_options, retries
from tesk.storage.objects.stores import AzureStore, StoreScheme
from tesk.storage.patience import Again, Patience
from tesk.storage.proxy import check_url, proxy_of
from tesk.storage.site import place_of
from tesk.storage.url import scheme_of, shown
from tesk.storage.wire import Wire

_SMALL_BYTES = 1024 * 1024
"""To ask for the checksum of so little would double what it costs."""
_VERSION = "2021-08-06"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_AUTHORITY = re.compile(r"([^@/]+)@([^./]+)\.(?:dfs|blob)\.core\.windows\.net")


def for_caller(settings: StorageSettings, caller: str) -> StoreScheme:
    """Build the scheme that `caller` gets."""
    known = tuple(one for one in settings.az if not one.callers or caller in one.callers)
    hosts = address.Hosts(settings.hosts_allowed, settings.hosts_denied)
    opened: dict[tuple[str, str], Opened] = {}
    wires = {
        private: Wire(
            connections_per_host=settings.connections_per_host,
            timeout_seconds=settings.timeout_seconds,
            private=private,
            hosts=hosts,
            proxy=proxy_of(settings),
        )
        for private in (False, True)
    }

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
            opened[account, container] = _open(container, entry, settings, proxy, wires[private])
        return Place(opened[account, container], key)

    def close() -> None:
        for wire in wires.values():
            wire.close()

    return StoreScheme(
        place,
        check,
        patience=Patience(settings.tries),
        connections_per_host=settings.connections_per_host,
        close=close,
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


def _open(container: str, known: AzContainer, settings: StorageSettings, proxy: str, wire: Wire) -> Opened:
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

    one = store(1)

    def checksum(key: str, tag: str, size_bytes: int) -> Checksum | None:
        if size_bytes <= _SMALL_BYTES:
            return None
        return _told(wire, f"{_endpoint(known)}/{container}/{quoted(key)}", known, tag)

    name = f"az container {known.account}/{container}"
    return Opened(one, store(settings.tries), name, "storage.az", anonymous, checksum)


def _told(wire: Wire, url: str, known: AzContainer, tag: str) -> Checksum | None:
    """Ask for the MD5 that a blob may have, which the library does not show; only if it is still the one with this ETag."""
    if known.sas:
        url += "?" + known.sas.removeprefix("?")
    try:
        own = _signed(known, place_of(url).target) if known.account_key else {}
        with wire.ask(url, "HEAD", own=own) as answer:
            md5 = answer.header("Content-MD5") if answer.status == 200 and answer.header("ETag") == tag else ""
        return Checksum("MD5", b64decode(md5, validate=True).hex()) if md5 else None
    except (Again, TransferRefused, OSError, ValueError):
        return None


def _signed(known: AzContainer, target: str) -> dict[str, str]:
    """Sign a HEAD with the account's key. The library signs URLs, too, but none that has an encoded letter."""
    said = {"x-ms-date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()), "x-ms-version": _VERSION}
    lines = ["HEAD", *[""] * 11, *(f"{name}:{value}" for name, value in said.items()), f"/{known.account}{target}"]
    signature = hmac.digest(b64decode(known.account_key), "\n".join(lines).encode(), "sha256")
    return said | {"Authorization": f"SharedKey {known.account}:{b64encode(signature).decode()}"}


def _nobody() -> NoReturn:
    """Be asked where there are no credentials: without this the library asks the machine's metadata service."""
    raise TransferRefused("there are no credentials (setting storage.az)")
