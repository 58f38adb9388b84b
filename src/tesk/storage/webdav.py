"""Read what WebDAV servers say of their folders (RFC 4918): a listing to names that can be trusted. No network."""

import os
import re
import xml.parsers.expat
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from tesk.errors import TransferRefused

ASK = (
    b'<?xml version="1.0" encoding="utf-8"?>'
    b'<propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/></prop></propfind>'
)
"""The body of a PROPFIND for all that we want to know."""
_MOST_BYTES = 64 * 1024 * 1024
_THINGS_MOST = 250_000
"""What servers say of so many fills the bytes that a listing may have; that which says less of each costs more memory."""
_HREF_MOST = 16 * 1024
_HREF = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://(?:[^/?#]*@)?(\[[^\]/?#]*\]|[^:/?#]*)(?::[^/?#]*)?)?([^?#]*).*", re.DOTALL
)


class Resource(NamedTuple):
    """What a server says of one thing. `status` is that of the thing itself where the server gives one, else 200."""

    href: str
    folder: bool
    size_bytes: int | None
    status: int


class _Reader:
    """The handlers of a parser: they keep where they are, and what they have found."""

    def __init__(self) -> None:
        self.found: list[Resource] = []
        self._above: list[str] = []
        self._text: list[str] = []
        self._length = 0
        self._forget()

    def _forget(self) -> None:
        self._href = ""
        self._status = 200
        self._folder = False
        self._size: int | None = None
        self._part: tuple[int, bool, int | None] = (200, False, None)

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        self._above.append(name)
        self._text.clear()
        self._length = 0
        if name == "DAV: response":
            self._forget()
        elif name == "DAV: propstat":
            self._part = (200, False, None)
        elif name == "DAV: collection" and self._above[-2:-1] == ["DAV: resourcetype"]:
            status, _, size = self._part
            self._part = (status, True, size)

    def letters(self, text: str) -> None:
        self._length += len(text)
        if self._length > _HREF_MOST:
            raise TransferRefused("a name in the listing has no end")
        self._text.append(text)

    def end(self, name: str) -> None:
        self._above.pop()
        text = "".join(self._text).strip()
        self._text.clear()
        self._length = 0
        above = self._above[-1] if self._above else ""
        status, folder, size = self._part
        if name == "DAV: href" and above == "DAV: response":
            self._href = text
        elif name == "DAV: status" and above == "DAV: propstat":
            self._part = (_status(text), folder, size)
        elif name == "DAV: status" and above == "DAV: response":
            self._status = _status(text)
        elif name == "DAV: getcontentlength" and above == "DAV: prop":
            self._part = (status, folder, int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None)
        elif name == "DAV: propstat" and status < 300:
            self._folder = self._folder or folder
            self._size = size if size is not None else self._size
        elif name == "DAV: response":
            if len(self.found) == _THINGS_MOST:
                raise TransferRefused(f"the listing names more than {_THINGS_MOST} things")
            self.found.append(Resource(self._href, self._folder, self._size, self._status))


def read(pieces: Iterable[bytes]) -> list[Resource]:
    """Return what a multistatus document lists. Raises TransferRefused for what is none, is too long or brings entities."""
    reader = _Reader()
    parser = xml.parsers.expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.letters
    parser.StartDoctypeDeclHandler = _no_doctype
    read_bytes = 0
    try:
        for piece in pieces:
            read_bytes += len(piece)
            if read_bytes > _MOST_BYTES:
                raise TransferRefused(f"the listing is longer than {_MOST_BYTES >> 20} MiB")
            parser.Parse(piece, False)
        parser.Parse(b"", True)
    except xml.parsers.expat.ExpatError as error:
        raise TransferRefused(f"the listing is no XML ({error})") from error
    return reader.found


def name_in(folder: str, resource: Resource, host: str) -> str:
    """Return the name of a thing in the folder at path `folder` (percent-encoded, of `host`); "" for the folder itself.

    Nothing of what a server says but this one name is used to build the URL that is asked next.
    Raises TransferRefused for a thing that cannot lie there.
    """
    parts = _HREF.fullmatch(resource.href)
    if parts is None or (parts[1] or host).strip("[]").lower() != host:
        raise TransferRefused("the listing leads to another host")
    above, path = _path(folder), _path(parts[2])
    if path == above:
        return ""
    if not path.startswith(above + b"/"):
        raise TransferRefused("the listing names what does not lie in this folder")
    name = path[len(above) + 1 :]
    if name in {b".", b".."} or b"/" in name or b"\0" in name:
        raise TransferRefused("the listing holds a name that no file in this folder can have")
    return os.fsdecode(name)


def _path(encoded: str) -> bytes:
    return unquote_to_bytes(encoded.encode("utf-8", "surrogateescape")).rstrip(b"/")


def _no_doctype(*_: object) -> None:
    raise TransferRefused("the listing brings a document type, which none needs")


def _status(text: str) -> int:
    """RFC 4918, 14.28: a status line."""
    code = text.split(" ", 2)[1:2]
    return int(code[0]) if code and code[0].isdecimal() and len(code[0]) == 3 else 500
