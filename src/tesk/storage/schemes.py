"""Which scheme serves a URL for this caller, and which roots hold where the settings name none."""

import os
import threading
from importlib import import_module
from types import TracebackType
from typing import Self
from urllib.parse import quote

from msgspec import structs

from tesk.errors import TransferRefused
from tesk.settings import FileRoot, StorageSettings
from tesk.storage.scheme import Scheme
from tesk.storage.url import scheme_of, shown

_MODULES = {
    "file": "tesk.storage.file",
    "ftp": "tesk.storage.ftp.scheme",
    "ftps": "tesk.storage.ftp.scheme",
    "http": "tesk.storage.http",
    "https": "tesk.storage.http",
    "s3": "tesk.storage.objects.s3",
}
"""Who serves what, by `for_caller(settings, caller)`. A module is loaded when a URL asks for it: each costs the stager's start."""


class Schemes:
    """The schemes of one caller, for use in a `with`. `settings` are in force: `file_roots` and `private_addresses` are given."""

    def __init__(self, settings: StorageSettings, caller: str) -> None:
        self._settings = settings
        self._caller = caller
        self._made: dict[str, Scheme] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for scheme in self._made.values():
            scheme.close()

    def of(self, url: str) -> Scheme:
        """Return the scheme of `url`. Raises TransferRefused for one that we have not."""
        name = scheme_of(url)
        module = _MODULES.get(name)
        if module is None:
            what = f"{name}:// is not supported here" if name else "is neither a URL nor an absolute path"
            raise TransferRefused(f"{shown(url)}: {what}; there are: {', '.join(sorted(_MODULES))}")
        with self._lock:
            if module not in self._made:
                self._made[module] = import_module(module).for_caller(self._settings, self._caller)
            return self._made[module]


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
    """Return the storage locations that service-info names: the roots that everybody may use. For settings in force."""
    return tuple(f"file://{quote(root.path.rstrip('/'))}/" for root in settings.file_roots or () if not root.callers)


def in_force(
    settings: StorageSettings, *, personal: bool, home: str, current: str, own: tuple[str, ...]
) -> StorageSettings:
    """Fill in what the settings leave open. `personal`: the server serves its own user only; `own`: TESK's data and settings."""
    roots = settings.file_roots
    if roots is None:
        roots = default_roots(home=home, current=current) if personal else ()
    private = personal if settings.private_addresses is None else settings.private_addresses
    return structs.replace(
        settings, file_roots=roots, private_addresses=private, file_denied=(*settings.file_denied, *own)
    )
