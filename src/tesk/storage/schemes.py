"""Which scheme serves a URL for this caller, and which roots hold where the settings name none."""

import os
from types import TracebackType
from typing import Self

from msgspec import structs

from tesk.errors import TransferRefused
from tesk.settings import FileRoot, StorageSettings
from tesk.storage.file import FileScheme
from tesk.storage.http import HttpScheme
from tesk.storage.scheme import Scheme
from tesk.storage.url import scheme_of, shown


class Schemes:
    """The schemes of one caller, for use in a `with`. `settings` are in force: `file_roots` and `private_addresses` are given."""

    def __init__(self, settings: StorageSettings, caller: str) -> None:
        roots = tuple(root for root in settings.file_roots or () if not root.callers or caller in root.callers)
        credentials = tuple(known for known in settings.http if not known.callers or caller in known.callers)
        self._http = HttpScheme(
            credentials,
            tries=settings.http_tries,
            timeout_seconds=settings.http_timeout_seconds,
            private=settings.private_addresses is True,
        )
        self._by_name: dict[str, Scheme] = {
            "file": FileScheme(roots, denied=settings.file_denied, reflink=settings.file_reflink),
            "http": self._http,
            "https": self._http,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def of(self, url: str) -> Scheme:
        """Return the scheme of `url`. Raises TransferRefused for one that we have not."""
        name = scheme_of(url)
        scheme = self._by_name.get(name)
        if scheme is None:
            have = ", ".join(sorted(self._by_name))
            what = f"{name}:// is not supported here" if name else "is neither a URL nor an absolute path"
            raise TransferRefused(f"{shown(url)}: {what}; there are: {have}")
        return scheme


def default_roots(*, home: str, current: str) -> tuple[FileRoot, ...]:
    """Return what tasks of a loopback server may use: read the home but for dot entries, write `current` and `~/tesk`.

    Started in a folder above the home (`/`, say), a server does not open all of it.
    """
    home, current = os.path.normpath(home), os.path.normpath(current)
    roots = [FileRoot(path=home, hidden=False), FileRoot(path=os.path.join(home, "tesk"), write=True)]
    if current == home or os.path.commonpath((home, current)) != current:
        # Dot entries of a project are programs for others (`.git/hooks`, `.envrc`); no output is written there.
        roots.append(FileRoot(path=current, write=True, hidden=False))
    return tuple(roots)


def in_force(
    settings: StorageSettings, *, loopback: bool, home: str, current: str, own: tuple[str, ...]
) -> StorageSettings:
    """Fill in what the settings leave open. `loopback`: the server listens for this machine only; `own`: TESK's data and settings."""
    roots = settings.file_roots
    if roots is None:
        roots = default_roots(home=home, current=current) if loopback else ()
    private = loopback if settings.private_addresses is None else settings.private_addresses
    return structs.replace(
        settings, file_roots=roots, private_addresses=private, file_denied=(*settings.file_denied, *own)
    )
