"""What S3 says, as values: pages of a listing, errors, the id of an upload. Pure."""

import re
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.parsers import expat

from tesk.storage.objects.keys import Listed
from tesk.storage.patience import Again
from tesk.storage.url import heard

_ENTITY = re.compile(r"&(#[0-9]{1,7}|#x[0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos);")
_LETTERS = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


class Page(NamedTuple):
    """A part of a listing; `onward` asks for the next one, "" where this was the last."""

    objects: list[Listed]
    onward: str


def page(document: bytes) -> Page:
    """Read the answer to ListObjectsV2. Raises Again for what is none: a proxy's page, half a document."""
    objects: list[Listed] = []
    said: dict[str, str] = {}
    for name, text in _elements(document):
        if name == "Contents":
            size = said.pop("Size", "")
            objects.append(Listed(said.pop("Key", ""), int(size) if size.isdecimal() and len(size) < 19 else 0))
        else:
            said[name] = text
    if said.get("EncodingType") == "url":
        objects = [Listed(unquote_plus(key), size) for key, size in objects]
    return Page(objects, said.get("NextContinuationToken", "") if said.get("IsTruncated") == "true" else "")


def _elements(document: bytes) -> list[tuple[str, str]]:
    """All elements in the order in which they end, with the text that stands directly before that."""
    found: list[tuple[str, str]] = []
    text: list[str] = []
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def end(name: str) -> None:
        found.append((name.rpartition(":")[2], "".join(text)))
        text.clear()

    def refuse(*_: object) -> None:
        raise Again("the server sent a listing with a document type, which S3 has not")

    parser.StartElementHandler = lambda *_: text.clear()
    parser.CharacterDataHandler = text.append
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = refuse  # entities that grow could be in it
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise Again(f"the server sent a listing that cannot be read ({error})") from error
    return found


class Complaint(NamedTuple):
    """An error in S3's words, "" where the server has none."""

    code: str
    message: str

    def __str__(self) -> str:
        return ": ".join(filter(None, self))


def complaint(document: bytes) -> Complaint:
    """Read an error. Only its code and message: the rest may hold what was signed, and with what."""
    return Complaint(heard(element(document, "Code")), heard(element(document, "Message")))


def element(document: bytes, name: str) -> str:
    """Return the text of the first element of this name, "" where there is none."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", document.decode("utf-8", "replace"))
    return _ENTITY.sub(_letter, found[1]).strip() if found else ""


def _letter(entity: re.Match[str]) -> str:
    name = entity[1]
    if not name.startswith("#"):
        return _LETTERS[name]
    number = int(name[1:].replace("x", "0x"), 16 if name[1] == "x" else 10)
    return chr(number) if number < 0x110000 else ""
