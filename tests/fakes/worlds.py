"""Worlds for the contract suite of the schemes: a scheme with a real source, and eyes and hands beside it.

A part adds its own in a module `fakes/worlds_<what>.py`, a context manager `(folder) -> World`, and names it in the suite.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tesk.storage.scheme import Scheme


@dataclass
class World:
    """A scheme and a URL (no slash at its end) below which things lie, empty at first.

    `plant` puts a file there, with the folders above it; `stored` reads one, None where nobody could. `folders`: the source
    knows empty folders; `lists`: it says what is in one; `bytes_in_names`: names may be no UTF-8; `lines_in_names`: they may
    hold line breaks.
    """

    scheme: Scheme
    base: str
    plant: Callable[[str, bytes], None]
    stored: Callable[[str], bytes | None]
    folders: bool = True
    lists: bool = True
    bytes_in_names: bool = True
    lines_in_names: bool = True


Make = Callable[[Path], contextlib.AbstractContextManager[World]]
"""Starts a world over an empty folder that is its own."""


def planting(folder: Path) -> Callable[[str, bytes], None]:
    """Return a `plant` for a source that is a folder of this machine."""

    def plant(name: str, data: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return plant


def reading(folder: Path) -> Callable[[str], bytes | None]:
    """Return a `stored` for a source that is a folder of this machine."""

    def stored(name: str) -> bytes | None:
        path = folder / name
        return path.read_bytes() if path.is_file() else None

    return stored
