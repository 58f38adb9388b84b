"""Take an http URL apart: which server is asked for what. No network."""

import contextlib
import re
from typing import NamedTuple
from urllib.parse import quote, urljoin

from tesk.errors import TransferRefused
from tesk.storage.url import shown

_SAFE = "%/:=&?~+!$,;'@()*[]|"
_URL = re.compile(
    r"(?i)(https?)://(?:([^/?#]*)@)?(\[[^\]/?#@]+\]|[^:/?#@\[\]\x00-\x20\x7f]+)(?::(\d{1,5}))?([/?][^#]*)?(?:#.*)?",
    re.DOTALL,
)


_PLAIN_HOST = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*")
"""What the library's idna, which takes longer than all the rest, would leave as it is."""


class Site(NamedTuple):
    """One server, as connections are kept for it."""

    tls: bool
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port, as a Host header has them and as settings may name them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """Host and port, and how it is spoken to."""
        return f"http{'s' * self.tls}://{self.authority}"

    @property
    def entry(self) -> str:
        """How a setting names it, as short as it can: `names` of it is this server."""
        plain = "" if self.tls else "http://"
        default = self.port == (443 if self.tls else 80)
        return plain + (self.authority.rpartition(":")[0] if default else self.authority)


class Place(NamedTuple):
    """A URL taken apart: what is asked of which server."""

    site: Site
    target: str
    userinfo: str | None

    @property
    def url(self) -> str:
        """The same without user and password."""
        return f"http{'s' * self.site.tls}://{self.site.authority}{self.target}"


def names(entry: str) -> str | None:
    """Return which servers an entry of the settings means, as `Wire` takes it; None where it is no host.

    `host` is https at its own port alone: what is meant for it goes in the clear, or to whoever serves on another port, only
    where the entry says so (`http://host`, `host:port`, `https://host:port`).
    """
    with contextlib.suppress(TransferRefused):
        place = place_of(entry if "://" in entry else f"https://{entry}")
        if (place.target, place.userinfo) == ("/", None):
            named = re.search(r":\d+/?$", entry) is not None and "://" not in entry
            return place.site.authority if named else place.site.origin
    return None


def place_of(url: str) -> Place:
    """Take a URL apart. Raises TransferRefused for one that is not right."""
    parts = _URL.fullmatch(url)
    if parts is None or int(parts[4] or 0) > 65535:
        raise TransferRefused(f"{shown(url)}: is no proper http URL")
    host = parts[3].strip("[]").lower()
    try:
        host = host if _PLAIN_HOST.fullmatch(host) else host.encode("idna").decode()
    except UnicodeError as error:
        raise TransferRefused(f"{shown(url)}: is no proper http URL (no host can have this name)") from error
    tls = parts[1].lower() == "https"
    target = parts[5] or "/"
    if target.startswith("?"):
        target = "/" + target
    site = Site(tls, host, int(parts[4] or (443 if tls else 80)))
    return Place(site, quote(target, safe=_SAFE, errors="surrogateescape"), parts[2])


def onward(place: Place, location: str) -> Place:
    """Return where a redirect leads, by the value of its Location header. Raises TransferRefused for what is no URL."""
    try:
        return place_of(urljoin(place.url, quote(location, safe=_SAFE + "#", encoding="latin-1")))
    except ValueError as error:
        raise TransferRefused(f"{shown(place.url)}: the server sends us on to what is no URL") from error
