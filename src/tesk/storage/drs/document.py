"""What DRS servers say about objects, and what of it we can use. Pure.

Fields and their meaning: GA4GH DRS 1.4, `DrsObject` and what it holds. Servers leave out much of what they must say.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import DecodeError, Struct, json

from tesk.errors import TransferRefused
from tesk.storage.url import shown

DEPTH_MAX = 100
"""So deep may bundles lie in each other."""
_ALGORITHMS = {"sha512": "sha-512", "sha384": "sha-384", "sha256": "sha-256", "sha1": "sha-1", "md5": "md5"}
"""What `hashlib` knows, the strongest first, and how DRS calls it (others leave the hyphen out)."""
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]++):([^\r\n\0]*+)")
_NOT_SENT = frozenset({"connection", "content-length", "expect", "host", "range", "te", "transfer-encoding", "upgrade"})
"""What belongs to the connection, which is ours."""


_NO_DOCUMENT = (DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoder raises for what is none: no JSON, other fields, no UTF-8, no end of its depths."""


class Checksum(Struct, frozen=True):
    """A value in hexadecimal, and the name of its algorithm in whatever spelling."""

    checksum: str
    type: str


class AccessUrl(Struct, frozen=True):
    """Where bytes are, and lines to be sent with the request for them."""

    url: str
    headers: tuple[str, ...] | dict[str, str] | None = None


class Authorizations(Struct, frozen=True):
    """What a server wants to be shown."""

    supported_types: tuple[str, ...] | None = None


class AccessMethod(Struct, frozen=True):
    """One way to the bytes of a blob: their URL, or an id by which the server makes one."""

    type: str = ""
    access_url: AccessUrl | None = None
    access_id: str | None = None
    authorizations: Authorizations | None = None

    @property
    def wants_passport(self) -> bool:
        """Say whether its URL is given to who shows a passport, and to nobody else."""
        types = (self.authorizations.supported_types if self.authorizations else None) or ()
        return "PassportAuth" in types and not {"None", "BasicAuth", "BearerAuth"} & set(types)


class Content(Struct, frozen=True):
    """One part of a bundle, under the name that it has there; with `contents` a bundle itself."""

    name: str
    id: str | None = None
    drs_uri: tuple[str, ...] | str | None = None
    contents: "tuple[Content, ...] | None" = None


class Object(Struct, frozen=True):
    """A blob, or with `contents` a bundle."""

    id: str = ""
    size: int | None = None
    checksums: tuple[Checksum, ...] | None = None
    access_methods: tuple[AccessMethod, ...] | None = None
    contents: tuple[Content, ...] | None = None

    @property
    def is_bundle(self) -> bool:
        """Some servers give blobs an empty list of contents."""
        return bool(self.contents) or (self.contents is not None and not self.access_methods)


class Expected(NamedTuple):
    """A checksum as we can compute it: its name in `hashlib`, and in hexadecimal what it must be."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{_ALGORITHMS[self.algorithm]} {self.value}"


def read_object(data: bytes, url: str) -> Object:
    """Read an object. Raises TransferRefused for what is none."""
    try:
        return json.decode(data, type=Object)
    except _NO_DOCUMENT as error:
        raise TransferRefused(f"{shown(url)}: the server's answer is no DRS object ({error})") from error


def read_access(data: bytes, url: str) -> AccessUrl:
    """Read where the bytes of an object are. Raises TransferRefused for what does not say it."""
    try:
        return json.decode(data, type=AccessUrl)
    except _NO_DOCUMENT as error:
        raise TransferRefused(f"{shown(url)}: the server's answer says no access URL ({error})") from error


def expected(checksums: tuple[Checksum, ...]) -> Expected | None:
    """Return the strongest checksum that can be computed here, if one is named."""
    there = {checksum.type.lower().replace("-", ""): checksum.checksum.strip().lower() for checksum in checksums}
    for algorithm in _ALGORITHMS:
        value = there.get(algorithm, "")
        if len(value) == 2 * hashlib.new(algorithm, usedforsecurity=False).digest_size:
            return Expected(algorithm, value)
    return None


def headers(access: AccessUrl, url: str) -> dict[str, str]:
    """Return what is to be sent with the request to an access URL. Values may be secrets: no message holds them."""
    lines = access.headers or ()
    if isinstance(lines, dict):
        lines = tuple(f"{name}: {value}" for name, value in lines.items())
    found = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise TransferRefused(f"{shown(url)}: the server names a header that cannot be sent")
        if header[1].lower() not in _NOT_SENT:
            found[header[1].title()] = header[2].strip(" \t")
    return found


def named(contents: tuple[Content, ...], url: str) -> Iterator[tuple[str, Content]]:
    """Yield all that lies in a bundle, as far as its document says, with its path; what holds other things comes first."""
    pending = [("", contents)]
    while pending:
        inner, parts = pending.pop()
        if inner.count("/") > DEPTH_MAX:
            raise TransferRefused(f"{shown(url)}: bundles lie deeper in each other than {DEPTH_MAX}")
        for part in parts:
            if part.name in {"", ".", ".."} or "/" in part.name or "\0" in part.name:
                raise TransferRefused(
                    f"{shown(url)}: a part of the bundle has a name that no file can have: {shown(part.name[:100])}"
                )
            yield inner + part.name, part
            if part.contents:
                pending.append((f"{inner}{part.name}/", part.contents))
