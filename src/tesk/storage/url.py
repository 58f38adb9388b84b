"""URLs as text: their scheme, a name below one, and how one is shown. No network, no disk."""

import os
import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from tesk.errors import TransferRefused

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_NO_UTF8 = re.compile("[\udc80-\udcff]")  # how `os` writes such bytes in a `str`


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SAID_MOST = 300
_HEAD_MOST = 60
_WEB = frozenset({"http", "https", "ftp", "ftps"})
_PLACED = re.compile(r"[^:]*://(?:[^/?#]*@)?(?:\[[^\]/?#@]*\]|[^:/?#@]*)(?::\d*)?(?:[/?#].*)?", re.DOTALL)
"""A URL that says where something is. In another one, a password with a `/` or a `#` in it say, all may be secret."""
_SIGNATURE = re.compile(r"(?i)([?&](?:sig|[^=&]*(?:signature|token|credential))=)[^&]*")
_LETTERS = frozenset({"file", "s3", "gs", "az", "abfs", "abfss"})
"""Schemes in whose URLs `?` and `#` are letters of a name like others."""


def scheme_of(url: str) -> str:
    """Return the scheme in lower case; a plain absolute path (as Nextflow and Cromwell write) is `file`; "" for neither."""
    if url.startswith("/"):
        return "file"
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def below(url: str, name: str) -> str:
    """Return the URL of `name` (parts with `/` between them) below the directory `url`: percent-encoded, but in a plain path."""
    name = name.strip("/")
    if url.startswith("/"):
        return f"{url.rstrip('/')}/{name}"
    query = ""
    if scheme_of(url) not in _LETTERS:
        cut = re.search(r"[?#]", url)
        if cut:
            url, query = url[: cut.start()], url[cut.start() :]
    return f"{url.rstrip('/')}/{quote_from_bytes(os.fsencode(name), safe='/~!$&()*+,;=:@')}{query}"


def path_of(url: str) -> str:
    """Return the absolute path that a `file:` URL or a plain path names. `?` and `#` are letters like others here.

    Raises TransferRefused for another host, a relative path, a NUL.
    """
    if url.startswith("/"):
        path = url
    else:
        rest = url[len("file:") :]
        if rest.startswith("//"):
            host, slash, rest = rest[2:].partition("/")
            if host.lower() not in {"", "localhost"}:
                raise TransferRefused(
                    f"{shown(url)}: names another machine ({shown(host)}); a file: URL begins with file:///"
                )
            rest = slash + rest
        path = os.fsdecode(unquote_to_bytes(rest.encode("utf-8", "surrogateescape")))
    if not path.startswith("/"):
        raise TransferRefused(f"{shown(url)}: the path of a file must be absolute")
    if "\0" in path:
        raise TransferRefused(f"{shown(url)}: no file can have such a name")
    return os.path.normpath("/" + path.lstrip("/"))


def shown(url: str) -> str:
    """Return `url` for a message: without user and password, query (which may be a signature) and data, on one line."""
    scheme = scheme_of(url).rpartition("+")[2]
    if scheme == "data":
        url = url.partition(",")[0][:_HEAD_MOST] + ",..."
    elif scheme in _WEB and not _PLACED.fullmatch(url):
        url = url.partition(":")[0] + ":..."
    if scheme != "file" and not scheme.startswith("abfs"):  # where what stands before the `@` is the container
        url = re.sub(r"(?<=://)[^/?#]*@", "", url)
    if scheme not in _LETTERS:
        url = re.sub(r"\?[^#]*", "?...", url)
    elif scheme != "file":
        url = _SIGNATURE.sub(r"\1...", url)  # who takes a signed URL of the web and writes the scheme before it
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), printable(url))


def heard(words: str) -> str:
    """Return what somebody else says as a part of a message: on one line, not long, and nothing that a terminal obeys."""
    return "".join(letter for letter in " ".join(printable(words).split()) if letter.isprintable())[:_SAID_MOST]


def printable(name: str) -> str:
    """Return `name` as text that JSON can carry: bytes that are no UTF-8 are percent-encoded."""
    return _NO_UTF8.sub(lambda found: quote_from_bytes(os.fsencode(found[0])), name)


def reported(url: str) -> str:
    """Return `url` as text that JSON can carry and that still names the same thing, and nothing else does."""
    if url.startswith("/") and _NO_UTF8.search(url):
        return "file://" + quote_from_bytes(os.fsencode(url), safe="/~!$&()*+,;=:@")
    return printable(url)
