"""Objects of DRS servers: fetched by whichever of their access methods we can do, and held to their checksums."""

import contextlib
import hashlib
import os
import posixpath
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import ClassVar, NoReturn

from msgspec import json

from tesk.errors import TransferRefused
from tesk.settings import DrsHost, DrsPrefix, StorageSettings
from tesk.storage import address, site
from tesk.storage.calling import web_calling
from tesk.storage.download import download
from tesk.storage.drs.document import DEPTH_MAX, AccessMethod, AccessUrl, Content, Object, expected, headers, named
from tesk.storage.drs.place import Place, place_of
from tesk.storage.drs.server import Servers
from tesk.storage.patience import Again, Patience
from tesk.storage.proxy import Proxy
from tesk.storage.scheme import Advance, Arrived, Entry, Scheme
from tesk.storage.url import scheme_of, shown
from tesk.storage.wire import Wire, authorization
from tesk.tes.task import FileType

_PIECE_BYTES = 1024 * 1024
_REMEMBERED_BYTES = 16 * 1024 * 1024
_FAR = frozenset({"http", "https", "ftp", "ftps", "s3", "gs", "az", "abfs", "abfss"})
"""What a server elsewhere may send us to. Files of this machine are none of its business."""
_BY_TYPE = {
    "https": "https",
    "http": "https",
    "ftp": "ftp",
    "ftps": "ftps",
    "s3": "s3",
    "gs": "gs",
    "azure": "az",
    "az": "az",
}
"""Which scheme an access URL of a type will have, most likely."""


def for_caller(settings: StorageSettings, caller: str, of: Callable[..., Scheme]) -> "DrsScheme":
    """Build the scheme that `caller` gets; `of` knows the schemes of the bytes."""
    return DrsScheme(
        tuple(known for known in settings.drs if not known.callers or caller in known.callers),
        settings.drs_prefixes,
        of,
        **web_calling(settings),
    )


class DrsScheme:
    """Objects and bundles. `known` are the caller's own credentials; `of` is `Schemes.of`; `private`, `hosts`: see `address`.

    What a public server says leads to public servers only, whatever names stand for at that moment.
    """

    has_folders: ClassVar[bool] = True

    def __init__(
        self,
        known: tuple[DrsHost, ...],
        prefixes: tuple[DrsPrefix, ...],
        of: Callable[..., Scheme],
        *,
        patience: Patience | None = None,
        connections_per_host: int = 8,
        timeout_seconds: float = 60.0,
        private: bool = False,
        hosts: address.Hosts = address.EVERYWHERE,
        context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._prefixes = prefixes
        self._of = of
        self._patience = patience or Patience()
        self._wires: list[Wire] = []

        def wire(authorizations: dict[str, str], *, public_only: bool) -> Wire:
            made = Wire(
                authorizations,
                connections_per_host=connections_per_host,
                timeout_seconds=timeout_seconds,
                private=private and not public_only,
                hosts=hosts,
                context=context,
                proxy=proxy,
            )
            self._wires.append(made)
            return made

        own = {
            one.host: authorization(user=one.user, password=one.password, token=one.token)
            for one in known
            if one.token or one.user
        }
        each = (False, True)
        self._bytes = {public: wire({}, public_only=public) for public in each}
        self._servers = {public: Servers(wire(own, public_only=public), self._patience, known) for public in each}
        self._public: set[str] = set()
        self._seen: dict[Place, tuple[Object, bool]] = {}
        self._seen_bytes = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        for wire in self._wires:
            wire.close()

    def check_server(self, url: str) -> None:
        authority = place_of(url, self._prefixes).authority
        self._bytes[False].check_site(site.place_of(f"https://{authority}").site)

    def stat(self, url: str) -> Entry | None:
        place = place_of(url, self._prefixes)
        found = self._ask(place)
        if found is None:
            return None
        self._remember(place, found)
        return _entry(url, "", found[0])

    def list(self, url: str) -> Iterator[Entry]:
        place = place_of(url, self._prefixes)
        pending: list[tuple[str, Place, tuple[Place, ...]]] = [("", place, ())]
        while pending:
            inner, bundle, above = pending.pop()
            if len(above) > DEPTH_MAX:
                raise TransferRefused(f"{shown(url)}: bundles lie deeper in each other than {DEPTH_MAX}")
            if bundle in above:
                raise TransferRefused(f"{shown(url)}: the bundle {shown(inner)} holds itself")
            parts = self._contents(bundle, url)
            expanded = any(part.contents for _, part in parts)
            for name, part in parts:
                path = posixpath.join(inner, name)
                if part.contents:
                    yield Entry(url=bundle.url, name=path, type=FileType.DIRECTORY)
                    continue
                there = self._place(part, bundle, url)
                if bundle.authority in self._public:
                    self._public.add(there.authority)
                if expanded and part.contents is None:  # so it is a blob; we need not ask
                    yield Entry(url=there.url, name=path, type=FileType.FILE)
                    continue
                found = self._object(there, url)
                entry = _entry(there.url, path, found[0])
                if entry.type is FileType.DIRECTORY:
                    pending.append((path, there, (*above, bundle)))
                else:
                    self._remember(there, found)
                yield entry

    def get(self, url: str, target: int, advance: Advance) -> Arrived:
        place = place_of(url, self._prefixes)
        done = 0

        def moved(count: int) -> None:
            nonlocal done
            done += count
            advance(count)

        def fetch() -> int:
            if done:
                os.ftruncate(target, 0)
                os.lseek(target, 0, os.SEEK_SET)
                moved(-done)
            known = self._remembered(place)
            try:
                found, public = known or self._object(place, url)
                size = self._fetch(place, found, target, moved, public=public)
            except TransferRefused:
                if known is None or done:
                    raise
                # Its URLs may have been made for some minutes only.
                found, public = self._object(place, url)
                size = self._fetch(place, found, target, moved, public=public)
            _verify(found, target, size, advance)
            return size

        return Arrived(size_bytes=self._patience.act(url, fetch, advance=advance, done=lambda: done))

    def put(self, source: int, url: str, advance: Advance) -> NoReturn:  # noqa: ARG002  names of the Protocol
        raise TransferRefused(f"{shown(url)}: a DRS server gives data out; outputs cannot be stored there")

    def make_directory(self, url: str) -> NoReturn:
        raise TransferRefused(f"{shown(url)}: a DRS server gives data out; outputs cannot be stored there")

    def _fetch(self, place: Place, found: Object, target: int, advance: Advance, *, public: bool) -> int:
        """Bring the bytes by the first access method that works, URLs that are there before those that must be asked for."""
        if found.is_bundle:
            raise TransferRefused(f"{place.url}: is a bundle, not a file; its type is DIRECTORY")
        methods = found.access_methods or ()
        chosen = [method for method in methods if self._can(method)]
        chosen.sort(key=lambda method: method.access_url is None)
        said = []
        for method in chosen:
            before = os.fstat(target).st_size
            try:
                access = method.access_url or self._servers[public].access(place, method)
                return self._bring(place, access, target, advance, public=public)
            except TransferRefused as error:
                advance(0)
                if os.fstat(target).st_size != before:
                    raise  # it was begun, and another method might bring another thing
                said.append(str(error))
        if said:
            raise TransferRefused(f"{place.url}: {'; '.join(said)}")
        types = ", ".join(sorted({method.type for method in methods})) or "none"
        raise TransferRefused(f"{place.url}: has no access method that can be used here; it has: {shown(types)}")

    def _can(self, method: AccessMethod) -> bool:
        if method.access_url is not None:
            name = scheme_of(method.access_url.url)
        else:
            name = _BY_TYPE.get(method.type.lower(), "") if method.access_id else ""
        if name not in _FAR:
            return False
        try:
            self._of(f"{name}://")
        except TransferRefused:
            return False
        return True

    def _bring(self, place: Place, access: AccessUrl, target: int, advance: Advance, *, public: bool) -> int:
        if scheme_of(access.url) not in _FAR:
            raise TransferRefused(f"{place.url}: leads to {shown(access.url)}, which no server elsewhere may name")
        scheme = self._of(access.url, public_only=public)
        sent = headers(access, place.url)
        if not sent:
            return scheme.get(access.url, target, advance).size_bytes
        if scheme_of(access.url) not in {"http", "https"}:
            raise TransferRefused(f"{place.url}: headers for {shown(access.url)} cannot be sent there")
        return download(self._bytes[public], self._patience, access.url, target, advance, own=sent)

    def _contents(self, bundle: Place, url: str) -> tuple[tuple[str, Content], ...]:
        found = self._ask(bundle, expand=True)
        if found is None:
            raise TransferRefused(f"{shown(url)}: there is no such object on {bundle.authority}")
        if not found[0].is_bundle:
            raise TransferRefused(f"{shown(url)}: is a file, not a bundle; its type is FILE")
        return tuple(named(found[0].contents or (), url))

    def _place(self, part: Content, bundle: Place, url: str) -> Place:
        """Where a part of a bundle is: on the same server by its id, or where its URI says."""
        if part.id:
            return Place(bundle.authority, part.id)
        uris = (part.drs_uri,) if isinstance(part.drs_uri, str) else part.drs_uri or ()
        for uri in uris:
            with contextlib.suppress(TransferRefused):
                return place_of(uri, self._prefixes)
        raise TransferRefused(f"{shown(url)}: nothing says where its part {shown(part.name)} is")

    def _object(self, place: Place, url: str) -> tuple[Object, bool]:
        found = self._ask(place)
        if found is None:
            raise TransferRefused(
                f"{shown(url)}: there is no such file; {place.authority} knows no object {shown(place.id)}"
            )
        return found

    def _ask(self, place: Place, *, expand: bool = False) -> tuple[Object, bool] | None:
        """What an id stands for, and whether the server is a public one."""
        found = self._servers[place.authority in self._public].object(place, expand=expand)
        if found is not None and found[1]:
            self._public.add(place.authority)
        return found

    def _remember(self, place: Place, found: tuple[Object, bool]) -> None:
        """Keep what was said of an object until it is fetched, so that it need not be asked for twice."""
        size = len(json.encode(found[0]))
        with self._lock:
            if place not in self._seen and self._seen_bytes + size <= _REMEMBERED_BYTES and not found[0].is_bundle:
                self._seen[place] = found
                self._seen_bytes += size

    def _remembered(self, place: Place) -> tuple[Object, bool] | None:
        with self._lock:
            return self._seen.pop(place, None)


def _entry(url: str, name: str, found: Object) -> Entry:
    if found.is_bundle:
        return Entry(url=url, name=name, type=FileType.DIRECTORY)
    return Entry(url=url, name=name, type=FileType.FILE, size_bytes=found.size)


def _verify(found: Object, target: int, size: int, advance: Advance) -> None:
    """Raise Again where what came is not what the object is."""
    if found.size is not None and found.size != size:
        raise Again(f"its size is not what its DRS server says ({found.size} bytes expected, {size} got)")
    wanted = expected(found.checksums or ())
    if wanted is None:
        return
    digest = hashlib.new(wanted.algorithm, usedforsecurity=False)
    at = 0
    while piece := os.pread(target, _PIECE_BYTES, at):
        digest.update(piece)
        at += len(piece)
        advance(0)
    if digest.hexdigest() != wanted.value:
        raise Again(f"its checksum is not what its DRS server says ({wanted} expected, {digest.hexdigest()} got)")
