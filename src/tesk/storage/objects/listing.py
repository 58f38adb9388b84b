"""What S3 says, as values: pages of a listing, errors, the id of an upload. Pure."""

import re
from html import unescape
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from tesk.storage.objects.keys import Listed
from tesk.storage.patience import Again


class Page(NamedTuple):
    """A part of a listing; `onward` asks for the next one, "" where this was the last."""

    objects: list[Listed]
    onward: str


def page(document: bytes) -> Page:
    """Read the answer to ListObjectsV2. Raises Again for what is none: a proxy's page, half a document."""
    try:
        root = ET.fromstring(document)  # noqa: S314  expat bounds how entities grow; no other is ever loaded
    except ET.ParseError as error:
        raise Again(f"the server sent a listing that cannot be read ({error})") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    encoded = root.findtext("EncodingType") == "url"
    objects = []
    for element in root.iter("Contents"):
        key, size = element.findtext("Key") or "", element.findtext("Size") or ""
        objects.append(Listed(unquote_plus(key) if encoded else key, int(size) if size.isdecimal() else 0))
    more = root.findtext("IsTruncated") == "true"
    return Page(objects, (root.findtext("NextContinuationToken") or "") if more else "")


class Complaint(NamedTuple):
    """An error in S3's words, "" where the server has none."""

    code: str
    message: str

    def __str__(self) -> str:
        return ": ".join(filter(None, self))


def complaint(document: bytes) -> Complaint:
    """Read an error. Only its code and message: the rest may hold what was signed, and with what."""
    return Complaint(element(document, "Code"), element(document, "Message"))


def element(document: bytes, name: str) -> str:
    """Return the text of the first element of this name, "" where there is none."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", document.decode("utf-8", "replace"))
    return unescape(found[1]).strip() if found else ""
