"""Who asks: from `Authorization` to a caller."""

import asyncio
import binascii
import hashlib
import hmac
import os
from base64 import b64decode
from collections import OrderedDict

from tesk.api.hashing import PasswordHash, hash_secret, token_digest
from tesk.caller import LOCAL, Caller
from tesk.errors import Unauthenticated
from tesk.settings import AuthSettings

_REMEMBERED = 1024
_CHECKS_AT_ONCE = 2
"""Passwords that are checked at once: each takes a core and 16 MB."""


class Identity:
    """The users and tokens of the settings. Raises SettingsError where a hash is none."""

    def __init__(self, auth: AuthSettings) -> None:
        self.required = auth.required
        self.challenges: list[tuple[bytes, bytes]] = []
        if auth.by_token:
            self.challenges.append((b"www-authenticate", b'Bearer realm="tesk"'))
        if auth.users:
            self.challenges.append((b"www-authenticate", b'Basic realm="tesk", charset="UTF-8"'))
        self._tokens = {
            token_digest(token.token_hash, f"auth.tokens[{n}].token_hash"): Caller(
                token.name, token.admin, token.reads_only
            )
            for n, token in enumerate(auth.tokens)
        }
        if auth.token:
            digest = token_digest(hash_secret(auth.token, "token"), "auth.token")
            self._tokens[digest] = Caller(auth.token_name, auth.token_admin)
        self._users = {
            user.name: (
                PasswordHash(user.password_hash, f"auth.users[{n}].password_hash"),
                Caller(user.name, user.admin, user.reads_only),
            )
            for n, user in enumerate(auth.users)
        }
        # An unknown name costs as much time as a known one, so that names cannot be found out.
        self._nobody = PasswordHash(hash_secret("", "password"), "") if auth.users else None
        self._key = os.urandom(32)
        self._known: OrderedDict[bytes, Caller] = OrderedDict()
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)

    async def caller(self, authorization: bytes | None) -> Caller:
        """Return who asks. Raises Unauthenticated. Where nobody need authenticate, whatever is said is ignored."""
        if not self.required:
            return LOCAL
        if authorization is None:
            raise Unauthenticated("this server wants to know who asks: send a token or a name and password")
        scheme, _, credentials = authorization.partition(b" ")
        match scheme.lower():
            case b"bearer":
                caller = self._by_token(credentials.strip())
            case b"basic":
                caller = await self._by_password(credentials.strip())
            case _:
                raise Unauthenticated("`Authorization` is to be Bearer or Basic")
        if caller is None:
            raise Unauthenticated("the token, or the name and password, are not known here")
        return caller

    def _by_token(self, token: bytes) -> Caller | None:
        # What is compared is a hash, of which nobody can choose the beginning: its time tells nothing.
        return self._tokens.get(hashlib.sha256(token).digest())

    async def _by_password(self, credentials: bytes) -> Caller | None:
        if self._nobody is None:
            return None
        # A keyed digest of what was right before: the password itself is not kept.
        digest = hmac.digest(self._key, credentials, "sha256")
        if (known := self._known.get(digest)) is not None:
            self._known.move_to_end(digest)
            return known
        try:
            name, colon, password = b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        expected, caller = self._users.get(name, (self._nobody, None))
        async with self._checks:
            right = await asyncio.to_thread(expected.matches, password)
        if not (right and colon and caller is not None):
            return None
        self._known[digest] = caller
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return caller
