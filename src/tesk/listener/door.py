"""Who may tell and who may read: signatures, tokens, and on loopback everybody of this machine."""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from ipaddress import ip_address

from tesk.errors import Forbidden, SettingsError, Unauthenticated
from tesk.http.browser import Door as Page
from tesk.http.exchange import Exchange
from tesk.http.peer import Peers
from tesk.listener.ledger import SIGNED, Ledger, Pass
from tesk.settings import ListenerSettings
from tesk.signature import BadKey, Unverified, open_key, verify

TELL, READ = "tell", "read"
SIGNED_HEADERS = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
_SIGNED = [(name.decode(), name) for name in SIGNED_HEADERS]
_TOKEN_MOST = 128
_TOKEN_LEAST = 20
_REMEMBERED = 10_000
_REMEMBERED_SECONDS = 10.0
"""So long a token may be good after another listener has forgotten it."""


_STRANGER = Forbidden(
    "this listener has no token and serves its own user only; this connection is another user's. Send the token of a "
    "subscription, or name a token in its settings (listener.token)"
)


class Door:
    """Says whose a request is. Raises SettingsError for keys that are none."""

    def __init__(self, ledger: Ledger, settings: ListenerSettings, clock: Callable[[], float]) -> None:
        for number, key in enumerate(settings.keys):
            try:
                open_key(key)
            except BadKey as error:
                raise SettingsError(f"listener.keys[{number}]: {error}") from error
        if settings.token and len(settings.token) < _TOKEN_LEAST:
            raise SettingsError(f"listener.token: has fewer than {_TOKEN_LEAST} characters: openssl rand -hex 24")
        if settings.plain and not is_loopback(settings.host):
            raise SettingsError("listener.plain: anybody could tell lies; only a listener on loopback may believe them")
        if not settings.token and not is_loopback(settings.host):
            raise SettingsError(
                f"listener.token: without it only a loopback address is served, and {settings.host} is none"
            )
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._signed = Pass(SIGNED, TELL, bool(settings.server))
        self._peers = Peers()
        # Without a token it is the host's name that shows a page whose own name was made to point here.
        self.page = Page(
            hosts=None if settings.token else frozenset((settings.host.lower(),)),
            what="listener",
            name_it="its address",
            allow_it="",
        )
        """Refuses what a web page has its browser ask: none is to use a listener."""
        self._known: OrderedDict[bytes, tuple[float, Pass | None]] = OrderedDict()

    async def teller(self, token: str | None, request: Exchange, body: bytes) -> Pass:
        """Return whose callback this is. Raises Unauthenticated, Forbidden, Unavailable."""
        if token is not None:
            found = await self._lookup(token)
            if found is None or found.kind != TELL:
                raise Unauthenticated("the token in the path of this callback is not known here")
            return found
        if self._is_signed(request.headers, body):
            return self._signed
        if self._settings.plain:
            self._check_peer(request)
            return self._signed
        raise Unauthenticated(
            "nobody can say who sent this: sign callbacks with a key that is named here (listener.keys), or put the token of "
            "a subscription into their path (POST /subscriptions)"
        )

    def teller_again(self, token: str | None, headers: Mapping[bytes, bytes], body: bytes) -> Pass | None:
        """Return the same at once, for the next callback with this token on a connection; None: ask `teller`.

        Raises Unauthenticated.
        """
        if token is None:
            return self._signed if self._is_signed(headers, body) else None
        known = self._remembered(digest(token))
        return known[0] if known is not None and known[0] is not None and known[0].kind == TELL else None

    def _is_signed(self, headers: Mapping[bytes, bytes], body: bytes) -> bool:
        """Verify the signature. Raises Unauthenticated. False: there need be none."""
        settings = self._settings
        if not settings.keys:
            return False
        said = {name: headers.get(header, b"").decode("latin-1") for name, header in _SIGNED}
        if settings.plain and not said["webhook-signature"]:
            return False
        try:
            verify(settings.keys, said, body, now=self._clock(), tolerance_seconds=settings.tolerance_seconds)
        except Unverified as error:
            raise Unauthenticated(f"this callback cannot be believed: {error}") from error
        return True

    async def reader(self, request: Exchange) -> Pass | None:
        """Return the subscription that may be read, None for all. Raises Unauthenticated, Forbidden, Unavailable."""
        authorization = request.headers.get(b"authorization")
        if authorization is None:
            if self._settings.token:
                raise Unauthenticated("this listener wants to know who asks: send a bearer token")
            self._check_peer(request)
            return None
        scheme, _, given = authorization.partition(b" ")
        token = given.strip().decode("latin-1")
        if scheme.lower() == b"bearer" and token:
            if self._settings.token and hmac.compare_digest(token.encode(), self._settings.token.encode()):
                return None
            found = await self._lookup(token)
            if found is not None and found.kind == READ:
                return found
        raise Unauthenticated("the token is not known here")

    def forget(self) -> None:
        """Look tokens up again."""
        self._known.clear()

    def check_stranger(self, request: Exchange) -> None:
        """Raise Forbidden for other users of this machine, where there is no token to tell them by."""
        if not self._settings.token:
            self._check_peer(request)

    def _check_peer(self, request: Exchange) -> None:
        if not self._peers.may_come(request.scope["client"], request.scope["server"]):
            raise _STRANGER

    def _remembered(self, key: bytes) -> tuple[Pass | None] | None:
        """Return what a token is good for, None where that has to be looked up."""
        known = self._known.get(key)
        return (known[1],) if known is not None and time.monotonic() - known[0] < _REMEMBERED_SECONDS else None

    async def _lookup(self, token: str) -> Pass | None:
        if len(token) > _TOKEN_MOST:
            return None
        key = digest(token)
        known = self._remembered(key)
        if known is not None:
            return known[0]
        found = await self._ledger.lookup(key)
        self._known[key] = (time.monotonic(), found)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """Return what is kept of a token: who reads the database cannot use it."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def is_loopback(host: str) -> bool:
    """Say whether only programs of this machine reach an address."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
