"""What the settings let web pages do at this server, and what browsers are told of it. Pure."""

from tesk.errors import SettingsError
from tesk.http.browser import Door
from tesk.settings import Settings


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
