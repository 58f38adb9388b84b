"""Who may be called: a URL is judged when somebody sets it, and each address that its host has when it is called. Pure."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from tesk.storage.address import Hosts, refusal

MOST_URL = 2048
PORTS = ("80", "443", "1024-65535")
"""Of programs that anybody may start, and of the web."""
LOOPBACK = ("127.0.0.0/8", "::1", "localhost", "*.localhost")
_PORTS = {"http": 80, "https": 443}


class Target(Struct, frozen=True, kw_only=True):
    """Whom a URL means. `origin` is `https://host:443`, `path` all that is asked of it there; `host` has no brackets."""

    origin: str
    tls: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As `Host` has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Forbidden(ValueError):  # noqa: N818  it is what the URL is
    """A URL that must not be called; the message says why, for its sender."""


@lru_cache(maxsize=4096)
def parse(url: str) -> Target:
    """Return whom a URL means. Raises Forbidden for what is none of http or https, or cannot be sent as it is."""
    if len(url) > MOST_URL:
        raise Forbidden(f"must have at most {MOST_URL} characters")
    if not url.isascii() or any(letter <= " " or letter == "\x7f" for letter in url):
        raise Forbidden("must hold no blanks and only letters of ASCII: write others in %-notation")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Forbidden(f"is no URL: {error}") from error
    if parts.scheme not in _PORTS or not host:
        raise Forbidden("must be http://host/... or https://host/...")
    if "@" in parts.netloc:
        raise Forbidden(
            "must hold no user and password: put an unguessable word into its path, or verify our signature"
        )
    if parts.fragment:
        raise Forbidden("must have no fragment (#...)")
    port = port or _PORTS[parts.scheme]
    shown = f"[{host}]" if ":" in host else host
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    return Target(
        origin=f"{parts.scheme}://{shown}:{port}", tls=parts.scheme == "https", host=host, port=port, path=path
    )


class Named(NamedTuple):
    """The settings that rules come from, by name."""

    hosts: str
    allow: str
    ports: str


class Rules:
    """What the settings let us call: `hosts` only, where some are named; private ones that `allow` names; these `ports`."""

    def __init__(self, *, hosts: Sequence[str], allow: Sequence[str], ports: Sequence[str], named: Named) -> None:
        self._only = Hosts(allowed=tuple(hosts))
        self._allow = Hosts(allowed=tuple(allow)) if allow else None
        self._ports = [_range(text) for text in ports]
        self._named = named
        self.check = lru_cache(maxsize=4096)(self._check)
        """Return whom a URL means. Raises Forbidden for what can be seen without asking anybody."""

    def _check(self, url: str) -> Target:
        target = parse(url)
        if not any(first <= target.port <= last for first, last in self._ports):
            raise Forbidden(f"port {target.port} may not be called ({self._named.ports})")
        if self._only.refusal(target.host) is not None:
            raise Forbidden(f"host {target.host} may not be called ({self._named.hosts} does not name it)")
        literal = _literal(target.host)
        if (target.host == "localhost" or target.host.endswith(".localhost")) and literal is None:
            literal = "127.0.0.1"
        if literal is not None and (reason := self.refusal(target.host, literal)) is not None:
            raise Forbidden(f"host {target.host} may not be called: {reason}")
        return target

    def refusal(self, host: str, address: str) -> str | None:
        """Say why a host must not be called at an address that it has, or None."""
        if self._only.refusal(host, address) is not None:
            return f"{self._named.hosts} does not name it"
        bare = ipaddress.ip_address(address.partition("%")[0])
        if bare.is_multicast or bare.is_unspecified:
            return "it is the address of no host"
        if self._allow is not None and self._allow.refusal(host, address) is None:
            return None
        if refusal(address, private=False) is not None:
            return f"its address is private, of this machine or of a cloud's metadata ({self._named.allow} can name it)"
        return None

    def allowed(self, host: str, addresses: Sequence[str]) -> list[str]:
        """Return those of a host's addresses that may be called. Raises Forbidden where there is none."""
        reasons = {address: self.refusal(host, address) for address in addresses}
        good = [address for address, reason in reasons.items() if reason is None]
        if not good:
            said = next(iter(reasons.values()), None) or "it has no address"
            raise Forbidden(f"host {host} may not be called: {said}")
        return good


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _literal(host: str) -> str | None:
    """The address that a host is, in every way of writing it that a resolver understands (127.1, 0x7f000001)."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    pieces = host.rstrip(".").split(".")
    if not all(piece and (piece.isdecimal() or piece.lower().startswith("0x")) for piece in pieces) or len(pieces) > 4:
        return None
    try:
        numbers = [
            int(piece, 16 if piece.lower().startswith("0x") else 8 if len(piece) > 1 and piece[0] == "0" else 10)
            for piece in pieces
        ]
        value = numbers[-1]
        for at, number in enumerate(numbers[:-1]):
            value += number << (24 - 8 * at)
        return str(ipaddress.IPv4Address(value))
    except (ValueError, ipaddress.AddressValueError):
        return None
