"""What FTP servers say about files: MLSD (RFC 3659), and the lists of Unix and Windows that older ones send. Pure."""

import os
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from tesk.errors import TransferRefused
from tesk.storage.url import shown

Kind = Literal["file", "folder", "link", "other"]

# What is possessive (`++`) keeps the time linear: nobody else's line shall keep us for hours.
_UNIX = re.compile(
    r"(?P<kind>[-dlbcpsD])(?P<mode>[-rwxsStTl]{9})[.+@]?\s++(?:\d++\s++)?.*?"
    r"(?<!\d)(?:(?P<size>\d++)|\d++,\s*+\d++)\s++"
    r"(?:[^\W\d]\S*\s+\d{1,2}|\d{1,2}\.?\s+[^\W\d]\S*|\d{4}-\d\d-\d\d)\s+(?:\d{1,2}:\d\d(?::\d\d)?|\d{4})\s(?P<name>.+)",
    re.DOTALL,
)
_DOS = re.compile(
    r"\d{2,4}[-/.]\d\d[-/.]\d{2,4}\s+\d{1,2}:\d\d(?:\s?[AaPp][Mm])?\s+(?:(?P<folder><(?:DIR|JUNCTION|SYMLINKD)>)\s+|(?P<size>[\d,.]+)\s)(?P<name>.+)",
    re.DOTALL,
)
_LISTED_MOST = 1_000_000
_LINE_MOST = 6000
"""Longer than a path and what a link leads to."""
_TOTAL = re.compile(r"(?i)total\s+\d+\s*")
_KINDS: dict[str, Kind] = {"-": "file", "d": "folder", "l": "link"}


class Listed(NamedTuple):
    """One thing. `version` changes when the file does; `unique` is the same for one thing under two names; both may be ""."""

    name: str
    kind: Kind
    size_bytes: int | None = None
    mode: int | None = None
    version: str = ""
    unique: str = ""


def from_mlsd(text: str) -> Listed | None:
    """Read one line of MLSD or MLST, `type=file;size=3; name`. None for the folder itself and the one above."""
    facts_text, _, name = text.partition(" ")
    facts = dict(fact.partition("=")[::2] for fact in facts_text.lower().split(";") if fact)
    match facts.get("type", "file"):
        case "file":
            kind: Kind = "file"
        case "dir":
            kind = "folder"
        case "cdir" | "pdir":
            return None
        case other:
            kind = "link" if "link" in other else "other"
    size, mode = facts.get("size", ""), facts.get("unix.mode", "")
    return Listed(
        name,
        kind,
        int(size) if size.isdecimal() and kind == "file" else None,
        int(mode, 8) & 0o777 if re.fullmatch("[0-7]{3,6}", mode) else None,
        facts.get("modify", ""),
        facts.get("unique", ""),
    )


def from_list(text: str) -> Listed | None:
    """Read one line of LIST. None for what names nothing ("total 12"). Raises ValueError for what is no list we know."""
    if found := _UNIX.fullmatch(text):
        kind = _KINDS.get(found["kind"], "other")
        name = found["name"].partition(" -> ")[0] if kind == "link" else found["name"]
        size = int(found["size"]) if found["size"] and kind == "file" else None
        # What a link has as its mode says nothing about what it leads to.
        return Listed(name, kind, size, _mode(found["mode"]) if kind in {"file", "folder"} else None)
    if found := _DOS.fullmatch(text):
        size = None if found["folder"] else int(re.sub("[,.]", "", found["size"]))
        kind = "file" if size is not None else "folder" if "DIR" in found["folder"] else "link"
        return Listed(found["name"], kind, size)
    if not text.strip() or _TOTAL.fullmatch(text):
        return None
    raise ValueError(text)


def read(data: bytes, url: str, *, machine: bool) -> Iterator[Listed]:
    """Yield what a whole listing names (`machine`: of MLSD), but for `.` and `..`.

    Raises TransferRefused for names that would lead out of the folder, and for what cannot be read.
    """
    for number, line in enumerate(data.split(b"\n"), 1):
        if number > _LISTED_MOST:
            raise TransferRefused(f"{shown(url)}: the server lists more than {_LISTED_MOST} files in one folder")
        text = os.fsdecode(line.removesuffix(b"\r"))
        if len(text) > _LINE_MOST:
            raise _strange(url, text)
        if not text:
            continue
        try:
            listed = from_mlsd(text) if machine else from_list(text)
        except ValueError:
            raise _strange(url, text) from None
        if listed is None or listed.name in {".", ".."}:
            continue
        if not listed.name or "/" in listed.name or "\0" in listed.name:
            raise TransferRefused(
                f"{shown(url)}: the server lists a file under a name that no file can have: {shown(listed.name[:100])}"
            )
        yield listed


def _strange(url: str, text: str) -> TransferRefused:
    return TransferRefused(
        f"{shown(url)}: the server lists its files in no way that is known here: {shown(text[:100])}"
    )


def _mode(text: str) -> int:
    """`rwxr-xr--` as bits."""
    return sum(bit for letter, bit in zip(text, (256, 128, 64, 32, 16, 8, 4, 2, 1), strict=True) if letter in "rwxst")
