"""Object stores that obstore speaks with: the verbs of a scheme over it, whatever store it is.

What obstore cannot say is said kindly: it has no names with control characters or empty parts, writes no key that ends
with a slash (an empty folder is an object of its name with the metadata `hdi_isfolder`, as Azure's own tools write it),
and looks up the store's address by itself, so that address is checked beforehand and can only be one that the settings or
the cloud name.
"""

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar, NamedTuple

from tesk.errors import TransferFailed, TransferRefused
from tesk.storage.objects.bucket import Changed
from tesk.storage.objects.keys import Listed, entries
from tesk.storage.objects.listing import complaint
from tesk.storage.objects.opened import Opened, Place
from tesk.storage.objects.parts import Part, Parts
from tesk.storage.patience import Again, Patience
from tesk.storage.pour import write
from tesk.storage.scheme import Advance, Arrived, Entry
from tesk.storage.url import shown
from tesk.tes.task import FileType

try:
    import obstore
    from obstore import exceptions
    from obstore.store import AzureStore, GCSStore
except ModuleNotFoundError as error:
    raise TransferRefused("gs:// and az:// want a package that is not here: pip install 'tesk[objects]'") from error

__all__ = ["AzureStore", "GCSStore", "StoreScheme"]

_PART_BYTES = 32 * 1024 * 1024
_SENT_PART_BYTES = 8 * 1024 * 1024
_SENT_PARTS = 3
_WHOLE_BYTES = 4 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
_PAGE_KEYS = 1000
_LINES = 8
_LARGE_AT_ONCE = 2
"""Files in parts that are sent at once: each holds some parts in memory."""
_FOLDER = {"hdi_isfolder": "true"}
_STATUS = re.compile(r"status code: (\d{3})")
_SPEAKS = (exceptions.BaseError, OSError, ValueError)


class StoreScheme:
    """Objects as files. `open_place` finds the store and the key of a URL; it may raise TransferRefused, Again and OSError.

    `check_server` is what `Calls` promises.
    """

    has_folders: ClassVar[bool] = True

    def __init__(
        self,
        open_place: Callable[[str], Place],
        check_server: Callable[[str], None],
        *,
        patience: Patience,
        connections_per_host: int = 8,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._close = close
        self._open_place = open_place
        self.check_server = check_server
        self._patience = patience
        self._connections = threading.Semaphore(connections_per_host)
        self._helpers = threading.Semaphore(connections_per_host - 1)
        self._large = threading.Semaphore(_LARGE_AT_ONCE)
        self._places: dict[str, Place] = {}

    def close(self) -> None:
        """Close what is beside the library, which keeps its connections for itself."""
        self._close()

    def stat(self, url: str) -> Entry | None:
        opened, key = self._place(url)

        def look() -> Entry | None:
            try:
                found = self._head(opened, key, url)
            except FileNotFoundError:
                return None
            kind = FileType.DIRECTORY if found.folder else FileType.FILE
            return Entry(url=url, name="", type=kind, size_bytes=None if found.folder else found.size_bytes)

        if key and not key.endswith("/"):
            entry = self._patience.act(url, look)
            if entry is not None:
                return entry
        there = next(self._listed(opened, key, url), None)
        return Entry(url=url, name="", type=FileType.DIRECTORY) if there is not None or not key else None

    def list(self, url: str) -> Iterator[Entry]:
        opened, key = self._place(url)
        prefix = f"{key.rstrip('/')}/" if key else ""
        empty = True
        for entry in entries(url, prefix, self._listed(opened, key, url)):
            empty = False
            yield entry
        if empty and key:
            there = self.stat(url)
            if there is None or there.type is FileType.FILE:
                why = "there is no such folder" if there is None else "is a file, not a folder; its type is FILE"
                raise TransferRefused(f"{shown(url)}: {why}")

    def get(self, url: str, target: int, advance: Advance) -> Arrived:
        opened, key = self._file(url)
        incoming = _Incoming(self, Place(opened, key), url, target, advance)
        self._patience.act(url, lambda: incoming.once(self._helpers), advance=advance, done=lambda: incoming.done_bytes)
        return Arrived(size_bytes=incoming.done_bytes)

    def put(self, source: int, url: str, advance: Advance) -> Arrived:
        opened, key = self._file(url)
        if opened.anonymous:
            raise TransferRefused(f"{shown(url)}: {_no_credentials(opened)}")
        size = os.fstat(source).st_size
        self._patience.act(
            url, lambda: self._store(Place(opened, key), url, _Pieces(source, size, url, advance)), advance=advance
        )
        return Arrived(size_bytes=size)

    def make_directory(self, url: str) -> None:
        opened, key = self._place(url)
        if opened.anonymous:
            raise TransferRefused(f"{shown(url)}: {_no_credentials(opened)}")

        def make() -> None:
            with self.asking(opened, url):
                obstore.put(opened.store, key.rstrip("/"), b"", attributes=_FOLDER, use_multipart=False)

        if key:
            self._patience.act(url, make)

    @contextlib.contextmanager
    def asking(self, opened: Opened, url: str) -> Iterator[None]:
        """Hold one connection, and turn what the library says into words of ours. FileNotFoundError is let out."""
        with self._connections:
            try:
                yield
            except FileNotFoundError:
                raise
            except _SPEAKS as error:
                raise _told(error, opened, url) from error

    def _place(self, url: str) -> Place:
        return self._patience.act(url, lambda: self._open_place(url))

    def _file(self, url: str) -> Place:
        place = self._place(url)
        if not place.key or place.key.endswith("/"):
            raise TransferRefused(f"{shown(url)}: is a folder, not a file; its type is DIRECTORY")
        return place

    def _head(self, opened: Opened, key: str, url: str) -> "_Head":
        with self.asking(opened, url):
            found = obstore.get(opened.store, key, options={"head": True})
            return _Head(found.meta["size"], dict(found.attributes).get("hdi_isfolder") == "true")

    def _listed(self, opened: Opened, key: str, url: str) -> Iterator[Listed]:
        """All below a folder. The library takes the slash from an empty folder's key; only an object can be looked at."""
        pages = obstore.list(opened.store, key.rstrip("/") or None, chunk_size=_PAGE_KEYS)
        done = object()

        def turn() -> object:
            with self.asking(opened, url):
                return next(pages, done)

        while (page := self._patience.act(url, turn)) is not done:
            assert isinstance(page, list)
            for one in page:
                name = one["path"]
                if one["size"] == 0 and self._patience.act(url, partial(self._is_folder, opened, name, url)):
                    name += "/"
                yield Listed(name, one["size"])

    def _is_folder(self, opened: Opened, key: str, url: str) -> bool:
        try:
            return self._head(opened, key, url).folder
        except FileNotFoundError:
            return True

    def _store(self, place: Place, url: str, pieces: "_Pieces") -> None:
        opened, key = place
        try:
            if pieces.size <= _WHOLE_BYTES:
                data = b"".join(pieces)
                with self.asking(opened, url):
                    stored = obstore.put(opened.store, key, data, use_multipart=False)
                checksum = opened.checksum(key, stored["e_tag"] or "", len(data))
                if checksum is not None:
                    checksum.check((data,))
            else:
                with self._large, self.asking(opened, url):
                    obstore.put(
                        opened.patient,
                        key,
                        pieces,
                        use_multipart=True,
                        chunk_size=max(_SENT_PART_BYTES, -(-pieces.size // 10_000)),
                        max_concurrency=_SENT_PARTS,
                    )
        except FileNotFoundError as error:
            raise TransferRefused(f"{shown(url)}: there is no {opened.name}") from error
        except (Again, TransferFailed, TransferRefused):
            pieces.take_back()
            raise


class _Head(NamedTuple):
    size_bytes: int
    folder: bool


class _Pieces:
    """A file as the pieces that the library sends; what it raises ends the upload."""

    def __init__(self, source: int, size: int, url: str, advance: Advance) -> None:
        self._source = source
        self._url = url
        self._advance = advance
        self._at = 0
        self.size = size

    def take_back(self) -> None:
        """Say that what was counted is to be sent again, or never."""
        lost, self._at = self._at, 0
        self._advance(-lost)

    def __iter__(self) -> "_Pieces":
        return self

    def __next__(self) -> bytes:
        if self._at >= self.size:
            raise StopIteration
        piece = os.pread(self._source, min(_PIECE_BYTES, self.size - self._at), self._at)
        if not piece:
            raise TransferFailed(f"{shown(self._url)}: the file became shorter while it was sent")
        self._at += len(piece)
        self._advance(len(piece))
        return piece


class _Incoming:
    """How far one object is, over all tries."""

    def __init__(self, scheme: StoreScheme, place: Place, url: str, target: int, advance: Advance) -> None:
        self._scheme = scheme
        self._opened, self._key = place
        self._url = url
        self._target = target
        self._advance = advance
        self._lock = threading.Lock()
        self._parts: Parts | None = None
        self._tag: str | None = None
        self.done_bytes = 0

    def once(self, helpers: threading.Semaphore) -> None:
        """One try at what is still missing."""
        try:
            if self._parts is None:
                self._begin()
            if self._parts is not None:
                self._parts.move(self._range, helpers, most=_LINES)
        except FileNotFoundError as error:
            raise TransferRefused(f"{shown(self._url)}: there is no such file") from error
        except Changed:
            self._restart()
            raise
        checksum = self._opened.checksum(self._key, self._tag or "", self.done_bytes)
        if checksum is not None:
            try:
                checksum.check(self._written())
            except Again:
                self._restart()
                raise

    def _restart(self) -> None:
        os.ftruncate(self._target, 0)
        lost, self.done_bytes = self.done_bytes, 0
        self._parts = None
        self._advance(-lost)

    def _written(self) -> Iterator[bytes]:
        for begin in range(0, self.done_bytes, _PIECE_BYTES):
            self._advance(0)
            yield os.pread(self._target, _PIECE_BYTES, begin)

    def _begin(self) -> None:
        """What is small comes with the first answer; of what is large it only says how large it is, and which version."""
        with self._scheme.asking(self._opened, self._url):
            answer = obstore.get(self._opened.store, self._key)
            size, self._tag = answer.meta["size"], answer.meta["e_tag"]
            self._parts = parts = Parts(size, _PART_BYTES)
            if size > _PART_BYTES:
                return
            while (part := parts.take_at(0)) is not None:
                self._pour(answer, part, parts)

    def _range(self, part: Part) -> None:
        assert self._parts is not None
        whole = part
        try:
            with self._scheme.asking(self._opened, self._url):
                options: obstore.GetOptions = {"range": (part.begin, part.end), "if_match": self._tag}
                answer = obstore.get(self._opened.store, self._key, options=options)
                if answer.range != (part.begin, part.end):
                    raise Changed("the server sent another part than was asked for")
                whole = Part(part.number, part.end, part.end)
                self._pour(answer, part, self._parts)
        finally:
            self._parts.give_back(whole)

    def _pour(self, answer: "obstore.GetResult", part: Part, parts: Parts) -> None:
        at = part.begin
        try:
            for piece in answer.stream(_PIECE_BYTES):
                write(self._target, piece, at)
                at += len(piece)
                with self._lock:  # who is told need not be safe from the threads of one file
                    self.done_bytes += len(piece)
                    self._advance(len(piece))
                parts.check()
        finally:
            parts.give_back(Part(part.number, at, part.end))
        if at != part.end:
            raise Again(f"the line broke after {self.done_bytes} bytes")


def _told(error: Exception, opened: Opened, url: str) -> Exception:
    """What the library says, without the URL that it called, which may hold a signature; and whether to try again."""
    words = str(error)
    status = next((int(found[1]) for found in [_STATUS.search(words)] if found), 0)
    said = complaint(words.encode())
    answer = f"the server answers {status}" + (f" ({said})" if said.code else "")
    match error:
        case exceptions.PermissionDeniedError() | exceptions.UnauthenticatedError():
            if opened.anonymous:
                return TransferRefused(f"{shown(url)}: {_no_credentials(opened)}; {answer}")
            return TransferRefused(
                f"{shown(url)}: the credentials that {opened.setting} has for {opened.name} do not allow it; {answer}"
            )
        case exceptions.PreconditionError():
            return Changed("the object changed while it was read")
        case exceptions.InvalidPathError() | ValueError():
            return TransferRefused(
                f"{shown(url)}: a name with a line break, another control character, or an empty part cannot be "
                f"asked for in {opened.name}"
            )
        case _:
            pass
    if 400 <= status < 500 and status not in {408, 425, 429}:
        return TransferRefused(f"{shown(url)}: {answer}")
    return Again(answer if status else f"the line to {opened.name} broke, or it is silent")


def _no_credentials(opened: Opened) -> str:
    return f"no credentials for {opened.name}: set {opened.setting}"
