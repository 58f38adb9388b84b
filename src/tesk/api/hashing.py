"""Hashes of passwords and tokens as they stand in the settings. Pure.

scrypt:16384:8:1:<salt>:<hash>    a password: slow on purpose; salt and hash in base64
sha256:<hex>                      a token that was made at random: nothing to guess, so quick
"""

import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from typing import Literal

from tesk.errors import SettingsError

_N, _R, _P = 1 << 14, 8, 1
_MEMORY_BYTES = 64 * 1024 * 1024
_TOKEN_LENGTH = 20
"""Characters that a token has at least; fewer could be guessed from its hash."""


def hash_secret(secret: str, kind: Literal["password", "token"]) -> str:
    """Return what `password_hash` or `token_hash` in the settings is to be. Raises SettingsError for a short token."""
    if kind == "token":
        if len(secret) < _TOKEN_LENGTH:
            raise SettingsError(
                f"a token has at least {_TOKEN_LENGTH} characters, made at random: openssl rand -hex 24"
            )
        return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()
    salt = os.urandom(16)
    return ":".join(
        ("scrypt", str(_N), str(_R), str(_P), b64encode(salt).decode(), b64encode(_scrypt(secret, salt)).decode())
    )


class PasswordHash:
    """A parsed `scrypt:...`. Raises SettingsError for anything else; `where` is the setting."""

    def __init__(self, text: str, where: str) -> None:
        try:
            kind, n, r, p, salt, digest = text.split(":")
            self._cost = int(n), int(r), int(p)
            self._salt, self._digest = b64decode(salt, validate=True), b64decode(digest, validate=True)
            self.matches("")
        except ValueError as error:
            raise SettingsError(f"{where} is none that `tesk hash-secret` printed for a password") from error
        if kind != "scrypt" or not self._digest:
            raise SettingsError(f"{where} is none that `tesk hash-secret` printed for a password")

    def matches(self, password: str) -> bool:
        """Say whether this is the password. Takes some 50 ms and 16 MB, so call it in a thread."""
        return hmac.compare_digest(_scrypt(password, self._salt, *self._cost), self._digest)


def token_digest(text: str, where: str) -> bytes:
    """Return the digest in a `sha256:...`. Raises SettingsError for anything else."""
    kind, _, digits = text.partition(":")
    try:
        digest = bytes.fromhex(digits)
    except ValueError:
        digest = b""
    if kind != "sha256" or len(digest) != hashlib.sha256().digest_size:
        raise SettingsError(f"{where} is none that `tesk hash-secret` printed for a token")
    return digest


def _scrypt(secret: str, salt: bytes, n: int = _N, r: int = _R, p: int = _P) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY_BYTES, dklen=32)
