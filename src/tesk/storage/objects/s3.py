"""`s3://bucket/key`, at any server that speaks S3: who asks for which bucket, and the verbs of a scheme over it."""

import ssl
import threading
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import partial
from typing import ClassVar

from tesk.errors import TransferRefused
from tesk.settings import S3Bucket, StorageSettings
from tesk.storage import address
from tesk.storage.calling import web_calling
from tesk.storage.objects.bucket import Bucket
from tesk.storage.objects.credentials import credentials, profile_of
from tesk.storage.objects.incoming import Incoming
from tesk.storage.objects.keys import Listed, Place, entries, place_of
from tesk.storage.objects.listing import Page, page
from tesk.storage.objects.outgoing import Outgoing
from tesk.storage.patience import Patience
from tesk.storage.proxy import Proxy
from tesk.storage.scheme import Advance, Arrived, Entry, Take
from tesk.storage.stream import stream
from tesk.storage.url import shown
from tesk.storage.wire import Wire
from tesk.tes.task import FileType

_PAGE_BYTES = 16 * 1024 * 1024
_PAGE_KEYS = 1000
_UNTOLD = frozenset({401, 403, 405, 501})
"""Answers of who does not say whether there is such a bucket: to us, or at all."""
_EMPTY_PAGES = 1000
"""A bucket with versions may have pages of nothing but what was deleted."""


def for_caller(settings: StorageSettings, caller: str) -> "S3Scheme":
    """Build the scheme that `caller` gets."""
    return S3Scheme(
        tuple(known for known in settings.s3 if not known.callers or caller in known.callers),
        **web_calling(settings),
    )


class S3Scheme:
    """Objects as files. `known` are the caller's own entries of the settings, of which the first that names a bucket counts.

    `private`: Amazon's names may lead to private networks. An endpoint that the settings name may be there anyway.
    """

    has_folders: ClassVar[bool] = True

    def __init__(
        self,
        known: tuple[S3Bucket, ...] = (),
        *,
        patience: Patience | None = None,
        connections_per_host: int = 8,
        timeout_seconds: float = 60.0,
        private: bool = False,
        hosts: address.Hosts = address.EVERYWHERE,
        context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._known = known
        self._patience = patience or Patience()
        self._wires = {
            named: Wire(
                connections_per_host=connections_per_host,
                timeout_seconds=timeout_seconds,
                private=named or private,
                hosts=hosts,
                context=context,
                proxy=proxy,
            )
            for named in (False, True)
        }
        self._helpers = threading.Semaphore(connections_per_host - 1)
        self._buckets: dict[str, Bucket] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        for wire in self._wires.values():
            wire.close()

    def check_server(self, url: str) -> None:
        self._place(url)[1].check_server()

    def check_bucket(self, url: str) -> None:
        _, bucket = self._place(url)

        def ask() -> None:
            with bucket.ask("HEAD") as answer:
                if answer.status == 404:
                    raise TransferRefused(f"{shown(url)}: there is no bucket {bucket.name}")
                if answer.status not in _UNTOLD:
                    bucket.check(answer, url)

        self._patience.act(url, ask)

    def stat(self, url: str) -> Entry | None:
        place, bucket = self._place(url)
        if place.key and not place.key.endswith("/"):
            entry = self._patience.act(url, lambda: _look(bucket, place, url))
            if entry is not None:
                return entry
        there = self._patience.act(url, lambda: _page(bucket, url, place.prefix, most=1)).objects
        if there or not place.key:
            return Entry(url=url, name="", type=FileType.DIRECTORY)
        return None

    def list(self, url: str) -> Iterator[Entry]:
        place, bucket = self._place(url)
        objects = self._objects(bucket, url, place.prefix)
        first = next(objects, None)
        if first is not None:
            yield from entries(url, place.prefix, _chain(first, objects))
        elif place.key:
            if (entry := self.stat(url)) is not None and entry.type is FileType.FILE:
                raise TransferRefused(f"{shown(url)}: is a file, not a folder; its type is FILE")
            raise TransferRefused(f"{shown(url)}: there is no such folder")

    def get(self, url: str, target: int, advance: Advance) -> Arrived:
        place, bucket = self._place(url)
        incoming = Incoming(bucket, _file(place, url), url, target, advance)
        self._patience.act(url, lambda: incoming.once(self._helpers), advance=advance, done=lambda: incoming.done_bytes)
        return Arrived(size_bytes=incoming.done_bytes)

    def stream(self, url: str, take: Take) -> int:
        place, bucket = self._place(url)
        key = _file(place, url)
        return stream(
            lambda headers: bucket.ask("GET", key, headers=headers),
            lambda answer: bucket.check(answer, url),
            self._patience,
            url,
            take,
            condition="If-Match",
        )

    def put(self, source: int, url: str, advance: Advance) -> Arrived:
        place, bucket = self._place(url)
        outgoing = Outgoing(bucket, _file(place, url), url, source, advance)
        try:
            self._patience.act(
                url, lambda: outgoing.once(self._helpers), advance=advance, done=lambda: outgoing.done_bytes
            )
        finally:
            outgoing.leave_nothing(self._patience)
        return Arrived(size_bytes=outgoing.size_bytes)

    def make_directory(self, url: str) -> None:
        place, bucket = self._place(url)

        def make() -> None:
            with bucket.ask("PUT", place.prefix, headers={"Content-Length": "0"}) as answer:
                bucket.check(answer, url)

        if place.key:
            self._patience.act(url, make)

    def _place(self, url: str) -> tuple[Place, Bucket]:
        place = place_of(url)
        with self._lock:
            if place.bucket not in self._buckets:
                self._buckets[place.bucket] = self._bucket(place.bucket)
            return place, self._buckets[place.bucket]

    def _bucket(self, name: str) -> Bucket:
        known = next((known for known in self._known if fnmatchcase(name, known.bucket)), S3Bucket())
        profile = profile_of(known.profile) if known.profile else None
        endpoint = known.endpoint or (profile.endpoint if profile else "")
        region = known.region or (profile.region if profile else "") or "us-east-1"
        wire = self._wires[bool(endpoint)]
        return Bucket(
            name,
            wire,
            credentials(known, profile, wire, region=region),
            endpoint=endpoint,
            region=region,
            virtual_host=known.virtual_host,
        )

    def _objects(self, bucket: Bucket, url: str, prefix: str) -> Iterator[Listed]:
        found: Page | None = None
        empty = 0
        while found is None or found.onward:
            ask = partial(_page, bucket, url, prefix, onward=found.onward if found else "")
            found = self._patience.act(url, ask)
            empty = 0 if found.objects else empty + 1
            if empty > _EMPTY_PAGES:
                raise TransferRefused(
                    f"{shown(url)}: the server lists nothing, and says without end that there is more"
                )
            yield from found.objects


def _look(bucket: Bucket, place: Place, url: str) -> Entry | None:
    with bucket.ask("HEAD", place.key) as answer:
        if answer.status == 404:
            return None
        bucket.check(answer, url)
        return Entry(url=url, name="", type=FileType.FILE, size_bytes=answer.content_length())


def _page(bucket: Bucket, url: str, prefix: str, *, onward: str = "", most: int = _PAGE_KEYS) -> Page:
    query = {"list-type": "2", "encoding-type": "url", "max-keys": str(most)}
    query |= {name: value for name, value in (("prefix", prefix), ("continuation-token", onward)) if value}
    with bucket.ask("GET", query=query) as answer:
        bucket.check(answer, url)
        return page(answer.read_at_most(_PAGE_BYTES))


def _file(place: Place, url: str) -> str:
    if not place.key or place.key.endswith("/"):
        raise TransferRefused(f"{shown(url)}: is a folder, not a file; its type is DIRECTORY")
    return place.key


def _chain(first: Listed, rest: Iterator[Listed]) -> Iterator[Listed]:
    yield first
    yield from rest
