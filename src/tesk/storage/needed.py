"""What a stager elsewhere must know to move one task's data: the caller's own credentials, of these what its URLs may need.

A pod is read by whoever may read its namespace's secrets, so it gets as little as can be:

- entries of other callers never travel, nor do the names of callers;
- `ftp`, `s3`, `gs` and `az`: the entries that the task's URLs name (of buckets the first, as everywhere);
- `http`: all that the caller has, where the task has a URL of the web: it may be redirected to any of these hosts;
- `drs`: all that the caller has of everything, where it has a DRS URL: only the server says where the bytes are;
- `trs`: none, images are looked up by the server; `file_roots`: none, a pod has no files of the server.

What names a file of the server (a key file, a profile) travels with its content in its place.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from tesk.errors import CannotRun, TransferRefused
from tesk.settings import AzContainer, FtpCredential, GsBucket, HttpCredential, S3Bucket, StorageSettings
from tesk.storage.objects.credentials import Profile, profile_of
from tesk.storage.objects.keys import place_of
from tesk.storage.schemes import allowed_schemes
from tesk.storage.url import scheme_of
from tesk.transfer import TransferList

_WEB = frozenset({"http", "https"})
_FTP = frozenset({"ftp", "ftps"})
_AZURE = frozenset({"az", "abfs", "abfss"})

_Bucket = TypeVar("_Bucket", S3Bucket, GsBucket)
_Entry = TypeVar("_Entry", HttpCredential, FtpCredential, S3Bucket, GsBucket, AzContainer)


def elsewhere(settings: StorageSettings) -> StorageSettings:
    """Return settings in force as they are for stagers that see none of the server's files."""
    schemes = tuple(name for name in allowed_schemes(settings) if name != "file")
    return replace(settings, schemes=schemes, file_roots=(), file_denied=())


def needed(
    settings: StorageSettings,
    transfers: TransferList,
    *,
    web_identity: bool,
    read: Callable[[str], str] = lambda path: Path(path).expanduser().read_text(encoding="utf-8"),
    profile: Callable[[str], Profile] = profile_of,
) -> StorageSettings:
    """Return what of settings in force one task's data needs, elsewhere.

    `web_identity`: the stager will have a projected token. `read` gives the content of a file of the server, `profile` a
    profile of its user. Raises CannotRun for credentials that cannot be had elsewhere.
    """
    urls: dict[str, list[str]] = {}
    for url in (*(each.url for each in transfers.inputs), *(each.url for each in transfers.outputs)):
        if url:
            for scheme in scheme_of(url).split("+"):
                urls.setdefault(scheme, []).append(url)
    anywhere = "drs" in urls

    def theirs(entries: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
        found = (one for one in entries if not one.callers or transfers.caller in one.callers)
        return tuple(replace(one, callers=()) for one in found)

    def buckets(entries: tuple[_Bucket, ...], scheme: str, carry: Callable[[_Bucket], _Bucket]) -> tuple[_Bucket, ...]:
        known = theirs(entries)
        asked = [one for one in known if one in _first_of_each(known, urls.get(scheme, ()))]
        return tuple(_carried(known if anywhere else asked, carry, asked))

    def mentioned(schemes: frozenset[str], name: str) -> bool:
        return anywhere or any(name.lower() in url.lower() for each in schemes for url in urls.get(each, ()))

    return replace(
        elsewhere(settings),
        http=theirs(settings.http) if anywhere or _WEB & urls.keys() else (),
        ftp=tuple(one for one in theirs(settings.ftp) if mentioned(_FTP, one.host)),
        s3=buckets(settings.s3, "s3", lambda one: _s3(one, profile, web_identity=web_identity)),
        gs=buckets(settings.gs, "gs", lambda one: _gs(one, read)),
        az=tuple(one for one in theirs(settings.az) if mentioned(_AZURE, one.account)),
        drs=theirs(settings.drs) if anywhere else (),
        drs_prefixes=settings.drs_prefixes if anywhere else (),
        trs=(),
    )


def _first_of_each(known: Iterable[_Bucket], urls: Iterable[str]) -> list[_Bucket]:
    """The entries that count for some URLs. A URL that names no bucket fails when it is moved, and says why."""
    found = []
    for url in urls:
        with suppress(TransferRefused):
            bucket = place_of(url).bucket
            found += [one for one in known if fnmatchcase(bucket, one.bucket)][:1]
    return found


def _carried(
    entries: Iterable[_Bucket], carry: Callable[[_Bucket], _Bucket], asked: list[_Bucket]
) -> Iterator[_Bucket]:
    """What can be had elsewhere. Only what the task names must be: a DRS server may choose among what is left."""
    for one in entries:
        try:
            yield carry(one)
        except CannotRun:
            if one in asked:
                raise


def _s3(one: S3Bucket, profile: Callable[[str], Profile], *, web_identity: bool) -> S3Bucket:
    if one.access_key_id:
        return replace(one, profile="", role="")
    if one.profile:
        try:
            keys = profile(one.profile)
        except TransferRefused as error:
            raise CannotRun(f"{error}.") from error
        return replace(
            one,
            profile="",
            role="",
            access_key_id=keys.access_key_id,
            secret_access_key=keys.secret_access_key,
            session_token=keys.session_token,
            region=one.region or keys.region,
            endpoint=one.endpoint or keys.endpoint,
        )
    if one.role == "instance":
        raise CannotRun(
            f"storage.s3: the entry for {one.bucket!r} takes the role of a machine, which no pod may reach: give keys, or "
            "role = 'web-identity'."
        )
    if one.role == "web-identity" and not web_identity:
        raise CannotRun(
            f"storage.s3: the entry for {one.bucket!r} takes a projected token, and pods have none: set "
            "kubernetes.identity_audience and kubernetes.identity_role."
        )
    return one


def _gs(one: GsBucket, read: Callable[[str], str]) -> GsBucket:
    if one.application_default and not one.service_account_file:
        raise CannotRun(
            f"storage.gs: the entry for {one.bucket!r} takes the credentials of the server's user, which no pod has: give "
            "service_account_file."
        )
    if not one.service_account_file:
        return one
    try:
        key = read(one.service_account_file)
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRun(f"storage.gs: {one.service_account_file} cannot be read: {error}.") from error
    return replace(one, service_account_file="", application_default=False, service_account_key=key)
