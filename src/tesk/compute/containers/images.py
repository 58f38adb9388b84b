"""Get the images of a task onto this machine by the policy of the settings, each once however many tasks want it."""

import asyncio
import os

from msgspec import Struct

from tesk.compute.containers.engine import Engine, Image
from tesk.compute.containers.reference import full_name

_FINAL = (
    *("unknown", "not found", "denied", "unauthorized", "invalid", "does not exist", "not known", "no such image"),
    *("unable to find user", "no such file or directory"),
)

_NEVER_STARTS = ("not a directory", "cdi device", "unresolvable cdi")
_NEVER_MOUNTED = ("read-only file system", "is a directory")
"""In the words of the runtime they are said of the container; of an engine, they could be of its own store."""


class Missing(Exception):  # noqa: N818  it is told as the attempt's end
    """An image could not be had; the words are the engine's. `final`: another attempt will find the same."""

    def __init__(self, says: str, *, final: bool) -> None:
        super().__init__(says)
        self.final = final


def is_final(says: str) -> bool:
    """Say whether, by an engine's words, another attempt will find the same."""
    return any(word in says.lower() for word in _FINAL)


def never_starts(says: str) -> bool:
    """Say whether, by an engine's words on a container that did not start, no other attempt's would.

    Its image, its paths, its user or its devices are why.
    """
    lower = says.lower()
    by_runtime = "runtime" in lower and any(word in lower for word in _NEVER_MOUNTED)
    return is_final(says) or by_runtime or any(word in lower for word in _NEVER_STARTS)


class _Known(Struct, frozen=True):
    image: Image
    stamp: tuple[int, int, int]


class Images:
    """What `engine` has. `pull` is the setting `containers.pull`."""

    def __init__(self, engine: Engine, pull: str) -> None:
        self._engine = engine
        self._pull = pull
        self._known: dict[str, _Known] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._folders: dict[tuple[str, str], bool] = {}

    async def get(self, name: str) -> Image:
        """Return an image, fetched if the policy says so. Raises Missing, BackendUnavailable."""
        if self._pull != "always" and (known := self._still_known(name)) is not None:
            return known
        lock = self._locks.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                if self._pull != "always" and (known := self._still_known(name)) is not None:
                    return known
                return await self._get(name)
        finally:
            if not lock.locked():
                self._locks.pop(name, None)

    async def _get(self, name: str) -> Image:
        stamp = self._stamp()
        if self._pull == "always":
            image, says, final = await self._fetch(name)
        else:
            # By the name as it is first: what was made here (`localhost/...`) has no registry.
            image = await self._engine.image(name) or await self._engine.image(full_name(name))
            says, final = "the machine has no such image, and containers.pull is never", True
            if image is None and self._pull == "missing":
                image, says, final = await self._fetch(name)
                stamp = self._stamp()
        if image is None:
            raise Missing(f"Image {name} cannot be had: {says}", final=final)
        if stamp is not None:
            self._known[name] = _Known(image, stamp)
        return image

    async def _fetch(self, name: str) -> tuple[Image | None, str, bool]:
        whole = full_name(name)
        said = await self._engine.pull(whole)
        if said.code != 0:
            return None, said.words, is_final(said.words)
        return await self._engine.image(whole), "it was fetched, and is not there", False

    async def holds_folder(self, image: Image, path: str, name: str, label: str) -> bool:
        """Say whether an image has a folder at `path`. What an id stands for never changes, so it is asked once."""
        if path == image.workdir:
            return True
        key = (image.id, path)
        if key not in self._folders:
            self._folders[key] = await self._engine.holds_folder(image.id, path, name, label)
        return self._folders[key]

    def _still_known(self, name: str) -> Image | None:
        known = self._known.get(name)
        return known.image if known is not None and known.stamp == self._stamp() else None

    def _stamp(self) -> tuple[int, int, int] | None:
        """What changes with every image that comes, goes or is named anew; None where it cannot be seen from here."""
        if (path := self._engine.facts.images_file) is None:
            return None
        try:
            found = os.stat(path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
