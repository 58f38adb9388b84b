"""What a web page may do here: nothing, unless its origin is named. Pure.

Browsers say who makes them ask: `Origin` with every POST and every request whose answer a script could read,
`Sec-Fetch-Site` with all others, `Host` as the page wrote it. A name that an attacker lets point to 127.0.0.1 (DNS
rebinding) shows in `Host`. Programs send none of these but Host.
"""

from collections.abc import Mapping
from ipaddress import ip_address

from msgspec import Struct

from tesk.errors import Forbidden, SettingsError
from tesk.settings import Settings

_LOCALHOST = ("localhost", ".localhost")


class Door(Struct, frozen=True, kw_only=True):
    """What the settings say of hosts and origins. `hosts` None: any name will do."""

    hosts: frozenset[str] | None
    origins: frozenset[str]
    any_origin: bool

    def refusal(self, headers: Mapping[bytes, bytes], method: str) -> Forbidden | None:
        """Return why a request is not served, None where it is."""
        host = headers.get(b"host", b"").decode("latin-1")
        if self.hosts is not None and not self._is_ours(host):
            return Forbidden(
                f"the name {host[:100]!r} in `Host` is not this server's: use localhost, or name it in server.hostnames"
            )
        origin = headers.get(b"origin")
        if origin is not None:
            if self.allows(origin) or _same(origin.decode("latin-1"), host):
                return None
            return Forbidden(
                f"web pages of {origin[:100].decode('latin-1')!r} may not use this server (server.cors_origins)"
            )
        site = headers.get(b"sec-fetch-site")
        if site is None or site in (b"same-origin", b"none"):
            return None
        if method in ("GET", "HEAD") and headers.get(b"sec-fetch-mode") == b"navigate":
            # A link that a person follows. In a frame nothing is shown (`frame-ancestors`).
            return None if headers.get(b"sec-fetch-dest") == b"document" else _OTHER_SITE
        return _OTHER_SITE

    def allows(self, origin: bytes) -> bool:
        """Say whether pages of this origin were named."""
        return self.any_origin or origin.decode("latin-1").lower() in self.origins

    def _is_ours(self, host: str) -> bool:
        name = _name(host)
        if self.hosts is not None and name in self.hosts:
            return True
        try:
            # An address cannot be made to point elsewhere.
            ip_address(name)
        except ValueError:
            return name == _LOCALHOST[0] or name.endswith(_LOCALHOST[1])
        return True


_OTHER_SITE = Forbidden("web pages of other sites may not use this server (server.cors_origins)")


def door(settings: Settings) -> Door:
    """Return what the settings say. Raises SettingsError."""
    server = settings.server
    authenticated = settings.auth.required
    origins = frozenset(origin.rstrip("/").lower() for origin in server.cors_origins)
    for origin in origins:
        if origin == "*" and not authenticated:
            raise SettingsError(
                "server.cors_origins: `*` would let every web page run tasks on a server without authentication; "
                "name the origins"
            )
        if origin != "*" and "://" not in origin:
            raise SettingsError(f"server.cors_origins: {origin} is no origin, such as https://portal.example.org")
    # Who must authenticate, or listens to everybody on purpose, may be called whatever others call them.
    checked = bool(server.hostnames) or not (authenticated or server.insecure)
    hosts = frozenset(name.lower().strip("[]") for name in (server.host, *server.hostnames)) if checked else None
    return Door(hosts=hosts, origins=origins, any_origin="*" in origins)


def cors_headers(origin: bytes) -> list[tuple[bytes, bytes]]:
    """Return what lets a page of this origin read the answer."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", b"ETag, Retry-After"),
        (b"vary", b"Origin"),
    ]


PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, TESK-Callback-URL",
    ),
    (b"access-control-allow-private-network", b"true"),
    (b"access-control-max-age", b"600"),
]
"""The rest of what a browser asks first."""


def _name(host: str) -> str:
    """Return the host of `host:port` or `[address]:port`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def _same(origin: str, host: str) -> bool:
    # A proxy may speak TLS for us, so only the names are compared.
    return bool(host) and origin.partition("://")[2].lower() == host.lower()
