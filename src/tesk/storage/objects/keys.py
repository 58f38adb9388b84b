"""Names in a bucket: from a URL to a key, and from the keys of a listing to files and folders. Pure."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from tesk.errors import TransferRefused
from tesk.storage.scheme import Entry
from tesk.storage.url import below, shown
from tesk.tes.task import FileType

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,253}[A-Za-z0-9]")
_PART_MAX_BYTES = 255
"""What Linux's file systems take as one name."""


class Place(NamedTuple):
    """Where an object is; `key` is "" for the bucket itself and ends with `/` for what can only be a folder."""

    bucket: str
    key: str

    @property
    def prefix(self) -> str:
        """What the keys below this folder begin with."""
        return f"{self.key.rstrip('/')}/" if self.key else ""


class Listed(NamedTuple):
    """One object of a listing."""

    key: str
    size_bytes: int


def place_of(url: str) -> Place:
    """Take `scheme://bucket/key` apart. `%XX` is decoded; `?` and `#` are letters like others. Raises TransferRefused."""
    bucket, _, path = url.partition("://")[2].partition("/")
    return Place(checked_bucket(bucket, url), key_of(path, url))


def checked_bucket(bucket: str, url: str) -> str:
    """Return the name of a bucket, which becomes part of a host or a path. Raises TransferRefused for what is none."""
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise TransferRefused(f"{shown(url)}: no bucket can have the name {bucket.rpartition('@')[2]!r}")
    return bucket


def key_of(path: str, url: str) -> str:
    """Decode a key. Raises TransferRefused for bytes that are no UTF-8, and for `.` and `..`, which servers resolve each in its way."""
    encoded = unquote_to_bytes(path.encode("utf-8", "surrogateescape"))
    try:
        key = encoded.decode()
    except UnicodeDecodeError as error:
        raise TransferRefused(
            f"{shown(url)}: an object store keeps names in UTF-8 only, and {quote(encoded)} is not"
        ) from error
    if {".", ".."} & set(key.split("/")) or "\0" in key:
        raise TransferRefused(f"{shown(url)}: a key with such parts is not asked for ('.', '..', NUL)")
    return key


def quoted(key: str) -> str:
    """Return a key as the path of an HTTP request, encoded as signatures want it."""
    return quote(key, safe="/-._~")


def entries(url: str, prefix: str, objects: Iterable[Listed]) -> Iterator[Entry]:
    """Make a tree of the objects below the folder `url`, parents before children; an object `name/` is an empty folder.

    Raises TransferRefused for a key that no file below a folder can have: somebody else may have put it there.
    """
    folders: set[str] = set()
    for key, size_bytes in objects:
        name = key.removeprefix(prefix)
        if not name:
            continue  # says that the folder itself is there
        parts = name.removesuffix("/").split("/")
        _check(url, key, parts, inside=key.startswith(prefix))
        is_folder = name.endswith("/")
        for depth in range(1, len(parts) + is_folder):
            folder = "/".join(parts[:depth])
            if folder not in folders:
                folders.add(folder)
                yield Entry(url=below(url, folder), name=folder, type=FileType.DIRECTORY)
        if not is_folder:
            yield Entry(url=below(url, name), name=name, type=FileType.FILE, size_bytes=size_bytes)


def _check(url: str, key: str, parts: list[str], *, inside: bool) -> None:
    long = any(len(part.encode()) > _PART_MAX_BYTES for part in parts)
    if not inside or long or {"", ".", ".."} & set(parts) or "\0" in key:
        why = (
            f"a part of it is longer than {_PART_MAX_BYTES} bytes"
            if long
            else "no file below a folder can be called so"
        )
        raise TransferRefused(f"{shown(url)}: holds an object with the key {quote(key)!r}: {why}")
