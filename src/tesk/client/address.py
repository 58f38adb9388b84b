"""Where a TES server is: what a person writes, taken apart; and how it is told who asks."""

import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tesk.client.http1 import Origin
from tesk.errors import BadDocument

TES_PATHS = ("/ga4gh/tes/v1", "/v1", "")
"""Where servers have the API, the spec's own place first."""

_BASE = re.compile(r"(/ga4gh/tes)?/v\d+\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """A server. `bases` are the places to look for the API; `root` is what stands before them; `authorization` a header or ""."""

    origin: Origin
    root: str
    bases: tuple[str, ...]
    authorization: str


def parse(url: str, token: str | None = None) -> Address:
    """Take an address apart: `http://host:8000`, with or without `/ga4gh/tes/v1` or `/v1`, with or without `name:password@`.

    `token` is a bearer token. Raises BadDocument.
    """
    shown = re.sub(r"(^|//)[^/]*@", r"\1", url)  # a password is nobody's business
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError as error:
        raise BadDocument(f"{shown} is no address of a server: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\x00-\x1f?#]", url):
        raise BadDocument(f"{shown} is no address of a server; one looks like http://127.0.0.1:8000")
    try:
        host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    except UnicodeError as error:
        raise BadDocument(f"{shown} is no address of a server: its name cannot be asked for: {error}") from error
    if not parts.path.isascii():
        raise BadDocument(f"{shown} is no address of a server: write what is not ASCII in its path in %-notation")
    tls = parts.scheme == "https"
    path = parts.path.rstrip("/")
    base = _BASE.search(path)
    root = path[: base.start()] if base else path
    return Address(
        origin=Origin(host, port or (443 if tls else 80), tls),
        root=root,
        bases=(path,) if base else tuple(root + each for each in TES_PATHS),
        authorization=_authorization(parts.username, parts.password, token),
    )


def _authorization(name: str | None, password: str | None, token: str | None) -> str:
    if token:
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise BadDocument("the token has characters that no token has (a space or a line end?)")
        return f"Bearer {token}"
    if name is not None:
        pair = f"{unquote(name)}:{unquote(password or '')}".encode()
        return "Basic " + binascii.b2a_base64(pair, newline=False).decode("ascii")
    return ""
