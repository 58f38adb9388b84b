"""Checksums that come in headers of HTTP: which one a server names, and what a file really has."""

import base64
import hashlib
import os
import re
from typing import NamedTuple

from tesk.storage.scheme import Advance

_PIECE_BYTES = 1024 * 1024
_KNOWN = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5"}
"""By their names in headers, the quickest of those that are as good first."""
_FIELD = re.compile(r"(?<![A-Za-z0-9-])([A-Za-z0-9-]++)\s*+=\s*+:([A-Za-z0-9+/=]++):")
_OLD_FIELD = re.compile(r"(?<![A-Za-z0-9-])([A-Za-z0-9-]++)=([A-Za-z0-9+/]++=*+)")


class Digest(NamedTuple):
    """A checksum: the algorithm as headers name it, and its value."""

    name: str
    value: bytes

    def __str__(self) -> str:
        return f"{self.name} {self.value.hex()}"


def named(*, of_file: tuple[str, str], of_answer: tuple[str, str] | None) -> Digest | None:
    """Return the checksum that an answer names for a whole file.

    `of_file`: values of Repr-Digest (RFC 9530) and Digest (RFC 3230). `of_answer`: those of Content-Digest and Content-MD5
    (RFC 1864), which speak of what this answer holds; None where that is a part. An ETag is no checksum.
    """
    if not any(of_file) and not any(of_answer or ()):
        return None
    there = dict(_OLD_FIELD.findall(of_file[1]))
    there |= dict(_FIELD.findall(of_file[0]))
    if of_answer is not None:
        there |= dict(_FIELD.findall(of_answer[0]))
        there.setdefault("md5", of_answer[1])
    values = {name.lower(): value for name, value in there.items()}
    for name, algorithm in _KNOWN.items():
        try:
            value = base64.b64decode(values.get(name, ""), validate=True)
        except ValueError:  # no base64, or not even ASCII
            continue
        if len(value) == hashlib.new(algorithm, usedforsecurity=False).digest_size:
            return Digest(name, value)
    return None


def of(file: int, name: str, advance: Advance) -> Digest:
    """Return the checksum of a regular file; `advance` is asked on the way whether it is still wanted."""
    found = hashlib.new(_KNOWN[name], usedforsecurity=False)
    at = 0
    while piece := os.pread(file, _PIECE_BYTES, at):
        found.update(piece)
        at += len(piece)
        advance(0)
    return Digest(name, found.digest())
