"""`http://` and `https://`: files of web servers in and out, folders where the server speaks WebDAV."""

import posixpath
import re
import ssl
import threading
from collections.abc import Iterator, Sequence
from typing import ClassVar

from tesk.errors import TransferRefused
from tesk.settings import HttpCredential, StorageSettings
from tesk.storage import webdav
from tesk.storage.address import EVERYWHERE, Hosts
from tesk.storage.answer import Answer
from tesk.storage.calling import web_calling
from tesk.storage.download import download
from tesk.storage.patience import Patience
from tesk.storage.proxy import Proxy
from tesk.storage.scheme import Advance, Arrived, Entry, Take
from tesk.storage.site import names, place_of
from tesk.storage.stream import stream
from tesk.storage.upload import NoFolder, upload
from tesk.storage.url import below, shown
from tesk.storage.wire import Wire, authorization, check
from tesk.tes.task import FileType

_PIECE_BYTES = 64 * 1024
_PATH_MOST_BYTES = 4096
_DEPTH_MAX = 300
_LISTED = 207
_NONE = frozenset({404, 410})
_NO_WEBDAV = frozenset({400, 403, 405, 406, 411, 415, 501})
"""How servers say that they do not know the methods of WebDAV, or not here."""
_MADE = frozenset({200, 201})
_THERE = frozenset({405, 301})
"""What MKCOL is answered where something is already (RFC 4918, 9.3.1), also by servers that put a slash behind first."""


def for_caller(settings: StorageSettings, caller: str) -> "HttpScheme":
    """Build the scheme that `caller` gets."""
    return HttpScheme(
        tuple(known for known in settings.http if not known.callers or caller in known.callers),
        **web_calling(settings),
    )


class HttpScheme:
    """Files of web servers. `credentials` are the caller's own; `private`: loopback and private networks may be called.

    A silence of `timeout_seconds` is a broken line. A URL is a folder's where it ends with `/`; only `stat` asks.
    """

    has_folders: ClassVar[bool] = False

    def __init__(
        self,
        credentials: tuple[HttpCredential, ...] = (),
        *,
        patience: Patience | None = None,
        connections_per_host: int = 8,
        timeout_seconds: float = 60.0,
        private: bool = False,
        hosts: Hosts = EVERYWHERE,
        context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._wire = Wire(
            {
                named: authorization(user=one.user, password=one.password, token=one.token)
                for one in credentials
                if (named := names(one.host)) is not None
            },
            connections_per_host=connections_per_host,
            timeout_seconds=timeout_seconds,
            private=private,
            hosts=hosts,
            context=context,
            proxy=proxy,
        )
        self._made: set[str] = set()
        self._making = threading.Lock()

    def close(self) -> None:
        """Close the connections that wait for more work."""
        self._wire.close()

    def check_server(self, url: str) -> None:
        self._wire.check_site(place_of(url).site)

    def stat(self, url: str) -> Entry | None:
        """Ask a WebDAV server; another one, which cannot tell, is asked for the file's head."""
        status, found = self._propfind(url, "0")
        if status == _LISTED:
            itself = next((entry for entry in found if not entry.name), None)
            return itself or Entry(url=url, name="", type=FileType.FILE)
        if status in _NONE:
            return None

        def look() -> Entry | None:
            with self._wire.ask(url, "HEAD") as answer:
                check(answer, url, fine=_NONE | {200})
                if answer.status != 200:
                    return None
                return Entry(url=url, name="", type=FileType.FILE, size_bytes=answer.content_length())

        return self._patience.act(url, look)

    def list(self, url: str) -> Iterator[Entry]:
        """Walk folder by folder, which every WebDAV server can; few let a whole tree be asked for at once."""
        pending = [""]
        while pending:
            inner = pending.pop()
            folder = below(url, inner) if inner else url
            status, found = self._propfind(_slashed(folder), "1")
            if status in _NONE:
                raise TransferRefused(f"{shown(folder)}: there is no such folder")
            if status != _LISTED:
                raise TransferRefused(
                    f"{shown(folder)}: the server does not list folders (it answers PROPFIND with {status}); "
                    "name each file as an input of its own, or use a WebDAV server"
                )
            if any(not entry.name and entry.type is FileType.FILE for entry in found):
                raise TransferRefused(f"{shown(folder)}: is a file, not a folder; its type is FILE")
            for entry in sorted(found, key=lambda one: one.name):
                if not entry.name:
                    continue
                name = posixpath.join(inner, entry.name)
                if len(name.encode("utf-8", "surrogateescape")) > _PATH_MOST_BYTES:
                    raise TransferRefused(f"{shown(url)}: its folders lie deeper in each other than a path can say")
                if entry.type is FileType.DIRECTORY:
                    pending.append(name)
                yield Entry(url=below(url, name), name=name, type=entry.type, size_bytes=entry.size_bytes)

    def get(self, url: str, target: int, advance: Advance) -> Arrived:
        return Arrived(size_bytes=download(self._wire, self._patience, url, target, advance))

    def stream(self, url: str, take: Take) -> int:
        return stream(
            lambda headers: self._wire.ask(url, "GET", headers),
            lambda answer: check(answer, url),
            self._patience,
            url,
            take,
            condition="If-Range",
        )

    def put(self, source: int, url: str, advance: Advance) -> Arrived:
        if _path(url).endswith("/"):
            raise TransferRefused(f"{shown(url)}: names no file")
        try:
            size = upload(self._wire, self._patience, source, url, advance)
        except NoFolder:
            if not self._make(_parent(url)):
                raise
            size = upload(self._wire, self._patience, source, url, advance)
        return Arrived(size_bytes=size)

    def make_directory(self, url: str) -> None:
        """Make it where the server knows folders. Another one stores files under any name, and an empty folder nowhere."""
        self._make(_slashed(url))

    def _make(self, folder: str) -> bool:
        """Make a folder with its parents; say whether it is there."""
        if folder.count("/") > _DEPTH_MAX:
            raise TransferRefused(f"{shown(folder)}: folders lie deeper in each other than {_DEPTH_MAX}")
        with self._making:  # many files of one new folder are stored at once
            return self._make_one(folder)

    def _make_one(self, folder: str) -> bool:
        if folder in self._made:
            return True

        def make() -> int:
            with self._wire.ask(folder, "MKCOL") as answer:
                if answer.status not in {409, 404} | _NO_WEBDAV:
                    check(answer, folder, fine=_MADE | _THERE)
                return answer.status

        status = self._patience.act(folder, make)
        above = _parent(folder)
        if status in {409, 404} and above != folder and self._make_one(above):
            status = self._patience.act(folder, make)
        there = status in _MADE or self._is_folder(folder)
        if there:
            self._made.add(folder)
        return there

    def _is_folder(self, url: str) -> bool:
        status, found = self._propfind(url, "0")
        return status == _LISTED and all(entry.type is FileType.DIRECTORY for entry in found)

    def _propfind(self, url: str, depth: str) -> tuple[int, Sequence[Entry]]:
        """Ask what is at `url` and, with depth 1, in it: the status, and names below it ("" is itself)."""

        def ask() -> tuple[int, Sequence[Entry]]:
            headers = {"Depth": depth, "Content-Type": "application/xml; charset=utf-8"}
            with self._wire.ask(url, "PROPFIND", headers, body=webdav.ASK) as answer:
                if answer.status != _LISTED:
                    check(answer, url, fine=_NONE | _NO_WEBDAV)
                    return answer.status, []
                try:
                    found = webdav.read(_pieces(answer))
                    entries = [_entry(one, answer, url) for one in found if one.status not in _NONE]
                except TransferRefused as error:
                    raise TransferRefused(f"{shown(url)}: {error}") from error
                return answer.status, entries

        return self._patience.act(url, ask)


def _entry(one: webdav.Resource, answer: Answer, url: str) -> Entry:
    name = webdav.name_in(answer.place.target.partition("?")[0], one, answer.place.site.host)
    if one.status >= 300:
        raise TransferRefused(f"the server answers {one.status} for {shown(name) or 'it'}")
    return Entry(
        url=url, name=name, type=FileType.DIRECTORY if one.folder else FileType.FILE, size_bytes=one.size_bytes
    )


def _pieces(answer: Answer) -> Iterator[bytes]:
    while piece := answer.read1(_PIECE_BYTES):
        yield piece


def _path(url: str) -> str:
    return re.split(r"[?#]", url, maxsplit=1)[0]


def _slashed(url: str) -> str:
    """The URL of a folder as servers want it."""
    path = _path(url)
    return url if path.endswith("/") else path + "/" + url[len(path) :]


def _parent(url: str) -> str:
    """The URL of the folder that something lies in; the top is its own."""
    path = _path(url)
    top = re.match(r"[^/]*//[^/]*", path)
    start = top.end() if top else 0
    above = path[start:].rstrip("/").rpartition("/")[0]
    return path[:start] + above + "/" + url[len(path) :]
