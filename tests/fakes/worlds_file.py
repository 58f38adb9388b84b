"""The worlds of `file:`: a folder, named by URL and by plain path."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from fakes.worlds import World, planting, reading
from tesk.settings import FileRoot
from tesk.storage.file import FileScheme


@contextlib.contextmanager
def by_url(folder: Path) -> Iterator[World]:
    yield World(_scheme(folder), f"file://{folder}", planting(folder), reading(folder))


@contextlib.contextmanager
def by_path(folder: Path) -> Iterator[World]:
    yield World(_scheme(folder), str(folder), planting(folder), reading(folder))


def _scheme(folder: Path) -> FileScheme:
    return FileScheme((FileRoot(path=str(folder), write=True),))
