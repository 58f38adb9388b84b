"""Which scheme serves a URL for this caller, and which roots hold where the settings name none."""

import os
import threading
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Self
from urllib.parse import quote

from msgspec import structs

from tesk.errors import SettingsError, TransferError, TransferRefused
from tesk.settings import FileRoot, StorageSettings
from tesk.storage.proxy import proxy_of
from tesk.storage.scheme import Calls, Rooted, Scheme
from tesk.storage.site import names
from tesk.storage.url import scheme_of, shown
from tesk.transfer import TransferList

_MODULES = {
    "data": "tesk.storage.data",
    "file": "tesk.storage.file",
    "ftp": "tesk.storage.ftp.scheme",
    "ftps": "tesk.storage.ftp.scheme",
    "http": "tesk.storage.http",
    "https": "tesk.storage.http",
    "s3": "tesk.storage.objects.s3",
    "gs": "tesk.storage.objects.gs",
    "az": "tesk.storage.objects.az",
    "abfs": "tesk.storage.objects.az",
    "abfss": "tesk.storage.objects.az",
}
"""Who serves what, by `for_caller(settings, caller)`. A module is loaded when a URL asks for it: each costs the stager's start."""

_WRAPPERS = {"drs": "tesk.storage.drs.scheme", "crypt4gh": "tesk.storage.crypt4gh"}
"""Schemes whose files lie in other schemes, by `for_caller(settings, caller, of)`, where `of` is `Schemes.of`: so none
imports another. What stands before a `+` in a scheme is a wrapper, `crypt4gh+https://`."""

_NO_PLACES = frozenset({"crypt4gh", "data", "file"})
"""Not told of as `NAME://`: none is a place where something could lie, or its places are named one by one."""


_BY_OBSTORE = frozenset({"abfs", "abfss", "az", "gs"})
"""They want a package that not every installation has."""

_SOURCES = frozenset({"crypt4gh", "data", "drs"})
"""They give data out and take none: each says so by itself."""


class Schemes:
    """The schemes of one caller, for use in a `with`. `settings` are in force: `file_roots` and `private_addresses` are given."""

    def __init__(self, settings: StorageSettings, caller: str) -> None:
        self._settings = settings
        self._caller = caller
        self._allowed = allowed_schemes(settings)
        self._made: dict[tuple[str, bool], Scheme] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for scheme in self._made.values():
            scheme.close()

    def of(self, url: str, *, public_only: bool = False) -> Scheme:
        """Return the scheme of `url`. Raises TransferRefused for one that we have not, or that the settings do not name.

        `public_only`: a public server has named the URL, so it must not lead to a private network.
        """
        name = self.name_of(url)
        module = _MODULES.get(name) or _WRAPPERS[name]
        with self._lock:
            if (module, public_only) not in self._made:
                build = import_module(module).for_caller
                wrapped = (self.of,) if name in _WRAPPERS else ()
                settings = structs.replace(self._settings, private_addresses=False) if public_only else self._settings
                self._made[module, public_only] = build(settings, self._caller, *wrapped)
            return self._made[module, public_only]

    def name_of(self, url: str) -> str:
        """Return by which name `url` is served. Raises TransferRefused for one that we have not, or that the settings do not name."""
        name = scheme_of(url)
        wrapper = name.partition("+")[0]
        if wrapper in _WRAPPERS:
            name = wrapper
        known = name in _MODULES or name in _WRAPPERS
        if not known or name not in self._allowed:
            what = f"{name}:// is not supported here" if name else "is neither a URL nor an absolute path"
            if known:
                what = f"{name}:// may not be used here (setting storage.schemes)"
            there = ", ".join(each for each in self._allowed if each != "crypt4gh" and not _is_lacking(each))
            raise TransferRefused(f"{shown(url)}: {what}; there are: {there}")
        return name


def refusal(settings: StorageSettings, transfers: TransferList) -> str | None:
    """Say why an input can never be had, or an output never be stored, as far as URL and settings tell. Calls nobody.

    None: nothing speaks against it. Where a name leads is known when it is called.
    """
    with Schemes(settings, transfers.caller) as schemes:
        for fetch in transfers.inputs:
            if fetch.far and (why := _refusal(schemes, fetch.url or "", write=False)):
                return f"inputs[{fetch.index}].url: {why}"
        for output in transfers.outputs:
            if why := _refusal(schemes, output.url, write=True):
                return f"outputs[{output.index}].url: {why}"
    return None


def _refusal(schemes: Schemes, url: str, *, write: bool) -> str | None:
    try:
        scheme = schemes.of(url)
        if write and schemes.name_of(url) in _SOURCES:
            scheme.make_directory(url)
        if isinstance(scheme, Rooted):
            scheme.check_root(url, write=write)
        if isinstance(scheme, Calls):
            scheme.check_server(url)
    except TransferError as error:
        return str(error)
    return None


def _is_lacking(name: str) -> bool:
    return name in _BY_OBSTORE and find_spec("obstore") is None


def allowed_schemes(settings: StorageSettings) -> tuple[str, ...]:
    """Return the schemes that tasks may use, sorted."""
    known = sorted(_MODULES | _WRAPPERS)
    return tuple(name for name in known if not settings.schemes or name in settings.schemes)


def default_roots(*, home: str, current: str) -> tuple[FileRoot, ...]:
    """Return what tasks of a server for its own user may use: read the home but for dot entries, write `current` and `~/tesk`.

    Started in a folder above the home (`/`, say), a server does not open all of it.
    """
    home, current = os.path.normpath(home), os.path.normpath(current)
    roots = [FileRoot(path=home, hidden=False), FileRoot(path=os.path.join(home, "tesk"), write=True)]
    if current == home or os.path.commonpath((home, current)) != current:
        # Dot entries of a project are programs for others (`.git/hooks`, `.envrc`); no output is written there.
        roots.append(FileRoot(path=current, write=True, hidden=False))
    return tuple(roots)


def told(settings: StorageSettings) -> tuple[str, ...]:
    """Return the storage that service-info names: the roots that everybody may use, then the schemes. For settings in force."""
    allowed = allowed_schemes(settings)
    roots = [root for root in settings.file_roots or () if not root.callers and "file" in allowed]
    return (
        *(f"file://{quote(root.path.rstrip('/'))}/" for root in roots),
        *(f"{name}://" for name in allowed if name not in _NO_PLACES and not _is_lacking(name)),
    )


def in_force(
    settings: StorageSettings, *, personal: bool, home: str, current: str, own: tuple[str, ...]
) -> StorageSettings:
    """Fill in what the settings leave open. `personal`: the server serves its own user only; `own`: TESK's data and settings.

    Raises SettingsError for a scheme that there is not, for what is no host, and for half a key.
    """
    for name in settings.schemes:
        if name not in _MODULES | _WRAPPERS:
            raise SettingsError(
                f"storage.schemes: there is no {name}; there are: {', '.join(sorted(_MODULES | _WRAPPERS))}"
            )
    try:
        proxy_of(settings)
    except TransferRefused as error:
        raise SettingsError(str(error)) from None
    for known in settings.http:
        if names(known.host) is None:
            raise SettingsError(
                f"storage.http: {known.host!r} is no host; write host, host:port, or http://host for one without TLS"
            )
    for one in settings.s3:
        if bool(one.access_key_id) != bool(one.secret_access_key):
            lacks = "secret_access_key" if one.access_key_id else "access_key_id"
            raise SettingsError(f"storage.s3: the entry for {one.bucket!r} has half a key; {lacks} is not given")
    roots = settings.file_roots
    if roots is None:
        roots = default_roots(home=home, current=current) if personal else ()
    private = personal if settings.private_addresses is None else settings.private_addresses
    return structs.replace(
        settings, file_roots=roots, private_addresses=private, file_denied=(*settings.file_denied, *own)
    )
