"""Verify an object's bytes against what its store says of them: which checksum to believe, and how to compute it."""

import contextlib
import hashlib
import re
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from tesk.storage.patience import Again

_CRC_LIBRARY = "anycrc"
_MODELS = {"CRC64NVME": "CRC64-NVME", "CRC32C": "CRC32C"}
"""What Python cannot compute, and how the library calls it. Amazon gives every new object the first one."""
_CRC_DIGITS = {"CRC64NVME": 16, "CRC32C": 8, "CRC32": 8}
_DIGITS = _CRC_DIGITS | {"SHA-256": 64, "SHA-1": 40}
"""What may stand in a header, the quickest first."""
_HASHES = {"SHA-256": "sha256", "SHA-1": "sha1", "MD5": "md5"}
_MD5 = re.compile(r'"([0-9a-f]{32})"')
_OWN_KEY = "x-amz-server-side-encryption-customer-algorithm"


class Checksum(NamedTuple):
    """What the store says of an object's bytes, in hexadecimal."""

    name: str
    expected: str

    def of(self, pieces: Iterable[bytes | memoryview]) -> str:
        """Return what it is of these bytes."""
        if self.name in _CRC_DIGITS:
            more, crc = _crc(self.name), 0
            for piece in pieces:
                crc = more(piece, crc)
            return f"{crc:0{_CRC_DIGITS[self.name]}x}"
        hasher = hashlib.new(_HASHES[self.name], usedforsecurity=False)
        for piece in pieces:
            hasher.update(piece)
        return hasher.hexdigest()

    def check(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Raise Again where the bytes are not those that the store has."""
        got = self.of(pieces)
        if got != self.expected:
            raise Again(f"its {self.name} is {got}, but the server says {self.expected}")


def checksum_of(header: Callable[[str], str]) -> Checksum | None:
    """Choose what an object is verified with, from its headers of S3: the quickest that covers it whole.

    Those of multipart uploads are often of the parts' own checksums (`...-7`).
    """
    if header("x-amz-checksum-type") != "COMPOSITE":
        for name, digits in _DIGITS.items():
            value = ""
            with contextlib.suppress(ValueError):  # what is no base64 is no checksum
                value = b64decode(header(f"x-amz-checksum-{name.replace('-', '').lower()}"), validate=True).hex()
            if len(value) == digits and (name not in _MODELS or find_spec(_CRC_LIBRARY) is not None):
                return Checksum(name, value)
    # Encrypted with a key of one's own, an object has an ETag that looks like an MD5 and is none.
    if header("x-amz-server-side-encryption") in {"", "AES256"} and not header(_OWN_KEY):
        return md5_of(header("ETag"))
    return None


def md5_of(tag: str) -> Checksum | None:
    """Return the MD5 that an ETag is, if it is one."""
    plain = _MD5.fullmatch(tag)
    return Checksum("MD5", plain[1]) if plain else None


@cache
def _crc(name: str) -> Callable[[bytes | memoryview, int], int]:
    """Return how a CRC goes on: (bytes, the CRC of those before)."""
    if name == "CRC32":
        return zlib.crc32
    # Loaded when a store first names one: it costs a sixth of the stager's start.
    more: Callable[[bytes | memoryview, int], int] = import_module(_CRC_LIBRARY).Model(_MODELS[name]).calc
    return more
