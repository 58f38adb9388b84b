"""`data:` URLs (RFC 2397), in only: the data are the URL itself, as base64 or percent-encoded."""

import binascii
import os
import re
from collections.abc import Iterator
from typing import ClassVar, NoReturn
from urllib.parse import unquote_to_bytes

from tesk.errors import TransferFailed, TransferRefused
from tesk.settings import StorageSettings
from tesk.storage.scheme import Advance, Arrived, Entry
from tesk.storage.url import shown
from tesk.tes.task import FileType

_HEAD = re.compile(r"(?i)data:[^,]*?(;\s*base64)?,", re.DOTALL)
_BLANK = re.compile(rb"\s+")


def for_caller(settings: StorageSettings, caller: str) -> "DataScheme":  # noqa: ARG001  what every scheme is asked for
    """Build the scheme, the same for every caller."""
    return DataScheme()


class DataScheme:
    """Small files that a task carries in its URLs."""

    has_folders: ClassVar[bool] = False

    def close(self) -> None:
        """Nothing is kept open."""

    def stat(self, url: str) -> Entry:
        return Entry(url=url, name="", type=FileType.FILE, size_bytes=len(decoded(url)))

    def list(self, url: str) -> Iterator[Entry]:
        raise TransferRefused(f"{shown(url)}: a data: URL is a file and does not list folders")

    def get(self, url: str, target: int, advance: Advance) -> Arrived:
        data = memoryview(decoded(url))
        written = 0
        try:
            while written < len(data):
                written += os.write(target, data[written:])
        except OSError as error:
            raise TransferFailed(f"{shown(url)}: {error.strerror}") from error
        advance(written)
        return Arrived(size_bytes=written)

    def put(self, source: int, url: str, advance: Advance) -> NoReturn:  # noqa: ARG002  names of the Protocol
        raise TransferRefused(f"{shown(url)}: outputs cannot be stored in a data: URL")

    def make_directory(self, url: str) -> NoReturn:
        raise TransferRefused(f"{shown(url)}: outputs cannot be stored in a data: URL")


def decoded(url: str) -> bytes:
    """Return the data of a URL. Raises TransferRefused for what is no such URL."""
    head = _HEAD.match(url)
    if head is None:
        raise TransferRefused(f"{shown(url)}: is no proper data: URL (data:[TYPE][;base64],DATA)")
    data = unquote_to_bytes(url[head.end() :].encode("utf-8", "surrogateescape"))
    if not head[1]:
        return data
    # Many leave the padding out, or write the letters that need no encoding in a URL.
    packed = _BLANK.sub(b"", data).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return binascii.a2b_base64(packed + b"=" * (-len(packed) % 4), strict_mode=True)
    except binascii.Error as error:
        raise TransferRefused(f"{shown(url)}: is no proper base64 ({error})") from error
