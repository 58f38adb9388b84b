"""What a web page may do here: nothing, unless its origin is named. Pure.

Browsers say who makes them ask: `Origin` with every POST and every request whose answer a script could read,
`Sec-Fetch-Site` with all others, `Host` as the page wrote it. A name that an attacker lets point to 127.0.0.1 (DNS
rebinding) shows in `Host`. Programs send none of these but Host.
"""

from collections.abc import Mapping
from ipaddress import ip_address

from msgspec import Struct

from tesk.errors import Forbidden

_LOCALHOST = ("localhost", ".localhost")


class Door(Struct, frozen=True, kw_only=True):
    """What the settings say of hosts and origins. `hosts` None: any name will do.

    `what` is refused to pages, and the other two say what helps.
    """

    hosts: frozenset[str] | None
    origins: frozenset[str] = frozenset()
    any_origin: bool = False
    what: str = "server"
    name_it: str = "name it in server.hostnames"
    allow_it: str = " (server.cors_origins)"

    def refusal(self, headers: Mapping[bytes, bytes], method: str) -> Forbidden | None:
        """Return why a request is not served, None where it is."""
        host = headers.get(b"host", b"").decode("latin-1")
        if self.hosts is not None and not self._is_ours(host):
            return Forbidden(
                f"the name {host[:100]!r} in `Host` is not this {self.what}'s: use localhost, or {self.name_it}"
            )
        origin = headers.get(b"origin")
        if origin is not None:
            if self.allows(origin) or _same(origin.decode("latin-1"), host):
                return None
            return Forbidden(
                f"web pages of {origin[:100].decode('latin-1')!r} may not use this {self.what}{self.allow_it}"
            )
        site = headers.get(b"sec-fetch-site")
        if site is None or site in (b"same-origin", b"none"):
            return None
        if method in ("GET", "HEAD") and headers.get(b"sec-fetch-mode") == b"navigate":
            # A link that a person follows. In a frame nothing is shown (`frame-ancestors`).
            return None if headers.get(b"sec-fetch-dest") == b"document" else self._other_site
        return self._other_site

    @property
    def _other_site(self) -> Forbidden:
        return Forbidden(f"web pages of other sites may not use this {self.what}{self.allow_it}")

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


def _name(host: str) -> str:
    """Return the host of `host:port` or `[address]:port`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def _same(origin: str, host: str) -> bool:
    # A proxy may speak TLS for us, so only the names are compared.
    return bool(host) and origin.partition("://")[2].lower() == host.lower()
