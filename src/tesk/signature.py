"""Sign what is sent and verify what came, as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, `webhook-signature`. Pure.

Kinds: `v1`, HMAC with a secret that both have (`whsec_`), and `v1a`, ed25519 (`whsk_` signs, `whpk_` verifies).
"""

import base64
import hashlib
import hmac
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import NamedTuple

from tesk.errors import SettingsError
from tesk.settings import CallbackKey

TOLERANCE_SECONDS = 300.0
"""So far a time stamp may lie from the clock, before or after: what is older may be replayed."""

_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
_SECRET, _PRIVATE, _PUBLIC = "whsec_", "whsk_", "whpk_"
_SIZES = range(24, 65)
_MOST_SIGNATURES = 16
"""A sender has a few keys; more would only be work for us."""


class BadKey(ValueError):  # noqa: N818  it is what the key is
    """A key that is none; the message says what would be right, and not the key."""


class Unverified(ValueError):  # noqa: N818  it is what the message is
    """Nobody can say who sent this, or when; the message is a sentence for its sender and for a log."""


class _Key(NamedTuple):
    kind: str
    sign: Callable[[bytes], bytes] | None
    verify: Callable[[bytes, bytes], bool]
    public: str


class Keys:
    """The keys of the settings, found by whose tasks they are for and which listener. Raises SettingsError for a bad one."""

    def __init__(self, keys: Sequence[CallbackKey]) -> None:
        self._keys = [(key.user, key.host.lower(), *_signer(number, key.secret)) for number, key in enumerate(keys)]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of signatures that listeners get."""
        return tuple(sorted({kind for *_, kind, _, _ in self._keys}))

    @property
    def public(self) -> tuple[str, ...]:
        """Return the keys that everybody may verify with."""
        return tuple(dict.fromkeys(public for *_, public in self._keys if public))

    def sign(self, user: str, host: str, webhook_id: str, timestamp: int, body: bytes) -> str:
        """Return the value of `webhook-signature`: one for each key that fits, with blanks between; "" where none does."""
        content = b"%b.%d.%b" % (webhook_id.encode(), timestamp, body)
        return " ".join(
            f"{kind},{base64.b64encode(sign(content)).decode()}"
            for of_user, of_host, kind, sign, _ in self._keys
            if of_user in ("", user) and of_host in ("", host)
        )


def verify(
    keys: Iterable[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> str:
    """Return the `webhook-id` of a message that one of the keys (`whsec_`, `whpk_`) has signed, not long ago.

    Names of `headers` are in lower case, `now` is seconds since the epoch. Raises Unverified, and BadKey for a key that is
    none. A message of these few minutes may still be a replayed one: its id is the same.
    """
    missing = [name for name in _HEADERS if not headers.get(name)]
    if missing:
        raise Unverified(f"The header {missing[0]} is missing.")
    webhook_id, stamp, signatures = (headers[name] for name in _HEADERS)
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) < 16):
        raise Unverified("The header webhook-timestamp is no number of seconds.")
    age = now - int(stamp)
    if abs(age) > tolerance_seconds:
        when = "old" if age > 0 else "far in the future"
        raise Unverified(f"The time stamp is too {when}: by {abs(age):.0f} s; {tolerance_seconds:g} s are allowed.")
    content = b"%b.%b.%b" % (webhook_id.encode(), stamp.encode(), body)
    given = [each.partition(",")[::2] for each in signatures.split(" ", _MOST_SIGNATURES)[:_MOST_SIGNATURES]]
    for key in map(open_key, keys):
        if any(kind == key.kind and _fits(key, content, text) for kind, text in given):
            return webhook_id
    raise Unverified("No signature fits a key that is known here.")


@lru_cache(maxsize=1024)
def open_key(key: str) -> _Key:
    """Return what a key does. Raises BadKey."""
    for prefix, opened in _KINDS.items():
        if key.startswith(prefix):
            return opened(_decoded(key.removeprefix(prefix)))
    raise BadKey(f"must begin with {' or '.join(_KINDS)}")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadKey(f"is no Base64: {error}") from error


def _fits(key: _Key, content: bytes, text: str) -> bool:
    try:
        return key.verify(content, base64.b64decode(text, validate=True))
    except ValueError:
        return False


def _signer(number: int, secret: str) -> tuple[str, Callable[[bytes], bytes], str]:
    where = f"callbacks.keys[{number}].secret"
    try:
        key = open_key(secret)
    except BadKey as error:
        raise SettingsError(f"{where}: {error}") from error
    if key.sign is None:
        raise SettingsError(f"{where}: is a public key: nobody can sign with it; {_PRIVATE} is needed")
    return key.kind, key.sign, key.public


def _symmetric(secret: bytes) -> _Key:
    if len(secret) not in _SIZES:
        raise BadKey(
            f"must be {_SECRET} and then {_SIZES.start} to {_SIZES.stop - 1} bytes in Base64; this has {len(secret)} bytes"
        )

    begun = hmac.new(secret, digestmod=hashlib.sha256)

    def sign(content: bytes) -> bytes:
        # hmac.digest lets go of the interpreter for two microseconds of work, and waits to get it back.
        own = begun.copy()
        own.update(content)
        return own.digest()

    return _Key("v1", sign, lambda content, given: hmac.compare_digest(sign(content), given), "")


def _private(secret: bytes) -> _Key:
    ed25519 = _ed25519()
    try:
        sign, public = ed25519.signer(secret)
    except ValueError as error:
        raise BadKey(f"must be {_PRIVATE} and then an ed25519 key of 32 bytes, or 64, in Base64: {error}") from error
    return _Key("v1a", sign, ed25519.verifier(public), _PUBLIC + base64.b64encode(public).decode())


def _public(public: bytes) -> _Key:
    try:
        return _Key("v1a", None, _ed25519().verifier(public), _PUBLIC + base64.b64encode(public).decode())
    except ValueError as error:
        raise BadKey(f"must be {_PUBLIC} and then an ed25519 public key of 32 bytes in Base64: {error}") from error


def _ed25519() -> ModuleType:
    try:
        return importlib.import_module("tesk.ed25519")
    except ModuleNotFoundError as error:
        raise BadKey("wants one package more: pip install 'tesk[ed25519]'") from error


_KINDS: dict[str, Callable[[bytes], _Key]] = {_SECRET: _symmetric, _PRIVATE: _private, _PUBLIC: _public}
