"""DRS ids taken apart: on a host that they name, or compact ones of a prefix that the settings know. No network."""

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote, unquote

from tesk.errors import TransferRefused
from tesk.settings import DrsPrefix
from tesk.storage.url import shown

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


class Place(NamedTuple):
    """One object: the server's authority (host, or host:port), and the id there, nothing in it encoded."""

    authority: str
    id: str

    @property
    def url(self) -> str:
        """The URI of the object, on its host."""
        return f"drs://{self.authority}/{quoted(self.id)}"


def quoted(text: str) -> str:
    """Return an id as a part of a path, whatever bytes it was made of."""
    return quote(text, safe="", errors="surrogateescape")


def place_of(url: str, prefixes: Iterable[DrsPrefix]) -> Place:
    """Take a DRS URI apart. Raises TransferRefused for one that is not right, or whose prefix nobody knows."""
    rest = re.sub(r"(?i)^drs:(//)?", "", url).partition("#")[0].partition("?")[0]
    for known in prefixes:
        if rest.lower().startswith(known.prefix.lower() + ":"):
            return Place(known.host.lower(), _id(rest[len(known.prefix) + 1 :], url))
    authority, slash, inner = rest.partition("/")
    if slash and _HOST.fullmatch(authority):
        return Place(authority.lower(), _id(inner, url))
    prefix, colon, _ = rest.rpartition(":")
    if colon and "@" not in authority:
        raise TransferRefused(
            f"{shown(url)}: nothing says where ids of {shown(prefix)} are (setting storage.drs_prefixes); "
            "they are never looked up at third parties"
        )
    raise TransferRefused(f"{shown(url)}: is no proper DRS URI (drs://HOST/ID, or drs://PREFIX:ACCESSION)")


def _id(text: str, url: str) -> str:
    name = unquote(text.rstrip("/"), errors="surrogateescape")
    if not name or name in {".", ".."} or any(ord(letter) < 32 for letter in name):
        raise TransferRefused(f"{shown(url)}: names no object")
    return name
