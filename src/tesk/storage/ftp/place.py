"""FTP URLs taken apart (RFC 1738, 3.2), and names as they go over the line. No network."""

import os
import re
from typing import Literal, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from tesk.errors import TransferRefused
from tesk.storage.url import shown

_URL = re.compile(
    r"(?i)(ftps?)://(?:([^/@?#]*)@)?(\[[^\]/?#@]+\]|[^:/?#@\[\]\x00-\x20\x7f]+)(?::(\d{1,5}))?(?:/([^?#]*))?([?#].*)?",
    re.DOTALL,
)
_PLAIN_HOST = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*")
"""What the library's idna, which takes longer than all the rest, would leave as it is."""
_IMPLICIT_PORT = 990


class Site(NamedTuple):
    """One server and how its lines are made safe: not at all, by AUTH TLS, or from the first byte on."""

    tls: Literal["", "explicit", "implicit"]
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port, as settings may name them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Place(NamedTuple):
    """A URL taken apart. `path` is relative to the folder of the login, absolute with a `/` in front, "" for that folder."""

    site: Site
    path: str
    user: str | None
    password: str


def place_of(url: str) -> Place:
    """Take a URL apart. Raises TransferRefused for one that is not right, or that no command of FTP can name."""
    parts = _URL.fullmatch(url)
    if parts is None or int(parts[4] or 0) > 65535:
        raise TransferRefused(f"{shown(url)}: is no proper ftp URL (ftp://HOST/PATH)")
    if parts[6]:
        raise TransferRefused(
            f"{shown(url)}: an ftp URL has no part after {parts[6][0]}; in a name it is %{ord(parts[6][0]):02X}"
        )
    host = parts[3].strip("[]").lower()
    try:
        if not _PLAIN_HOST.fullmatch(host):
            host.encode("idna")
    except UnicodeError as error:
        raise TransferRefused(f"{shown(url)}: is no proper ftp URL (no host can have this name)") from error
    secure = parts[1].lower() == "ftps"
    port = int(parts[4] or 21)
    site = Site(("implicit" if port == _IMPLICIT_PORT else "explicit") if secure else "", host, port)
    path = os.fsdecode(unquote_to_bytes((parts[5] or "").encode("utf-8", "surrogateescape")))
    user, colon, password = (parts[2] or "").partition(":")
    user, password = unquote(user), unquote(password)
    for text in (path, user, password):
        wire(text, url)
    return Place(site, path.rstrip("/") or path[:1], user if user or colon else None, password)


def wire(name: str, url: str) -> str:
    """Return a name with each of its bytes as one letter, as `Line` sends it. Raises TransferRefused for what FTP cannot say."""
    if "\n" in name or "\r" in name or "\0" in name:
        # A command ends with its line: what follows a line break in a name would be a command of its own.
        raise TransferRefused(f"{shown(url)}: FTP cannot name a file with a line break in it")
    return os.fsencode(name).decode("latin-1")


def unwired(name: str) -> str:
    """Return the name that came as one letter for each byte."""
    return os.fsdecode(name.encode("latin-1"))
