"""`gs://bucket/key`: which credentials open a bucket of Google Cloud Storage."""

from fnmatch import fnmatchcase
from typing import NoReturn
from urllib.parse import urlsplit

from tesk.errors import TransferRefused
from tesk.settings import GsBucket, StorageSettings
from tesk.storage import address
from tesk.storage.objects.checksum import md5_of
from tesk.storage.objects.keys import place_of
from tesk.storage.objects.opened import Opened, Place, client_options, retries
from tesk.storage.objects.stores import GCSStore, StoreScheme
from tesk.storage.patience import Patience
from tesk.storage.proxy import check_url, proxy_of

_GOOGLE = "https://storage.googleapis.com"


def for_caller(settings: StorageSettings, caller: str) -> StoreScheme:
    """Build the scheme that `caller` gets."""
    known = tuple(one for one in settings.gs if not one.callers or caller in one.callers)
    hosts = address.Hosts(settings.hosts_allowed, settings.hosts_denied)
    opened: dict[str, Opened] = {}

    def entry_of(bucket: str) -> tuple[GsBucket, bool]:
        """What the settings say of a bucket, and whether it may be in a private network."""
        entry = next((one for one in known if fnmatchcase(bucket, one.bucket)), GsBucket())
        return entry, bool(entry.endpoint) or settings.private_addresses is True

    def check(url: str) -> None:
        entry, private = entry_of(place_of(url)[0])
        address.check_name(urlsplit(entry.endpoint or _GOOGLE).hostname or "", private=private, hosts=hosts)

    def place(url: str) -> Place:
        bucket, key = place_of(url)
        if bucket not in opened:
            entry, private = entry_of(bucket)
            proxy = check_url(entry.endpoint or _GOOGLE, proxy_of(settings), private=private, hosts=hosts)
            opened[bucket] = _open(bucket, entry, settings, proxy)
        return Place(opened[bucket], key)

    return StoreScheme(
        place, check, patience=Patience(settings.tries), connections_per_host=settings.connections_per_host
    )


def _open(bucket: str, known: GsBucket, settings: StorageSettings, proxy: str) -> Opened:
    key, file = known.service_account_key, known.service_account_file
    anonymous = not key and not file and not known.application_default

    def store(times: int) -> GCSStore:
        return GCSStore(
            bucket,
            # All that decides where and as whom we call is given here: the library would take the rest from variables.
            config={
                "base_url": known.endpoint or _GOOGLE,
                "skip_signature": anonymous,
                **({"service_account_key": key} if key else {"service_account": file} if file else {}),
            },
            client_options=client_options(
                plain=known.endpoint.startswith("http:"), timeout_seconds=settings.timeout_seconds, proxy=proxy
            ),
            retry_config=retries(times),
            credential_provider=_nobody if anonymous else None,
        )

    # Of what was stored in parts, composed or encrypted with the customer's own key it looks like none.
    return Opened(
        store(1),
        store(settings.tries),
        f"gs bucket {bucket}",
        "storage.gs",
        anonymous,
        lambda _key, tag, _size: md5_of(tag),
    )


def _nobody() -> NoReturn:
    """Be asked where there are no credentials: without this the library asks the machine's metadata service for a write."""
    raise TransferRefused("there are no credentials (setting storage.gs)")
