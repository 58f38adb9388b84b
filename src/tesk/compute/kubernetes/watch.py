"""All objects of a kind as they are in the cluster now, kept up by lists and watches. Acts.

Watches end, break, miss, and fall too far behind: then all is listed again and compared with what is known, in both
directions. Nothing is ever taken from the stream alone.
"""

import asyncio
import contextlib
import logging
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.objects import Object
from tesk.compute.kubernetes.refusals import Gone, Refused
from tesk.errors import BackendUnavailable

T = TypeVar("T", bound=Object)
Key = tuple[str, str]
"""Namespace and name."""

_log = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0
_SHORT_SECONDS = 5.0
"""A watch that lasts no longer and says nothing is trouble, however it ends."""
_FAILURES = 3
"""In a row: then all is listed, not watched from where we were."""


class Mirror(Generic[T]):
    """What is at `paths` (a namespace's pods, or all pods) and fits `selector`, as values of `shape`.

    `changed` is called with each object that is new or another than before, `gone` with the last that was known of one
    that is no longer there; both at once, from `run`, and quick. `synced` is set when all was listed once: from then on
    what is known is complete, as of `age_seconds` ago.
    """

    def __init__(
        self,
        api: Api,
        paths: Sequence[str],
        shape: type[T],
        *,
        selector: str = "",
        changed: Callable[[T], None] = lambda _: None,
        gone: Callable[[T], None] = lambda _: None,
        pause_seconds: float = _FIRST_PAUSE_SECONDS,
    ) -> None:
        self.synced = asyncio.Event()
        self._api = api
        self._shape = shape
        self._selector = selector
        self._changed = changed
        self._gone = gone
        self._pause_seconds = pause_seconds
        self._sources: tuple[_Source[T], ...] = tuple(_Source(path) for path in paths)

    async def run(self) -> None:
        """Keep it up, for ever; to be canceled. Begun again it lists all again, lest a fault has cost it some."""
        for source in self._sources:
            source.version = ""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(self._follow(source))

    def get(self, namespace: str, name: str) -> T | None:
        """Return what is known of an object, None where nothing is."""
        key = (namespace, name)
        return next((found for source in self._sources if (found := source.known.get(key)) is not None), None)

    def __iter__(self) -> Iterator[T]:
        """Yield all objects that are known now."""
        for source in self._sources:
            yield from list(source.known.values())

    def __len__(self) -> int:
        return sum(len(source.known) for source in self._sources)

    def age_seconds(self) -> float:
        """Return how long ago the server was last heard of, where that is longest; bookmarks come each minute."""
        now = time.monotonic()
        return max((now - source.heard for source in self._sources), default=0.0)

    async def _follow(self, source: "_Source[T]") -> None:
        pause = self._pause_seconds
        troubled = False
        while True:
            began = heard = time.monotonic()
            try:
                if not source.version:
                    await self._list(source)
                heard = source.heard
                await self._watch(source)
                troubled = False
            except Gone:
                source.version = ""
            except (Refused, BackendUnavailable) as error:
                if not troubled:
                    _log.warning("%s of the cluster cannot be watched: %s", source.path, error)
                troubled = True
                source.failures += 1
                if source.failures >= _FAILURES:
                    source.version = ""
            if source.heard > heard or time.monotonic() - began >= _SHORT_SECONDS:
                pause = self._pause_seconds
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _list(self, source: "_Source[T]") -> None:
        """Take what is there for what is known, and tell of each difference."""
        began = time.monotonic()
        items, version = await self._api.list(source.path, self._shape, selector=self._selector)
        there = {key_of(item): item for item in items}
        for key in [key for key in source.known if key not in there]:
            self._drop(source, key)
        for key, item in there.items():
            self._take(source, key, item)
        source.version = version
        source.heard = began
        source.failures = 0
        source.listed = True
        if all(each.listed for each in self._sources):
            self.synced.set()

    async def _watch(self, source: "_Source[T]") -> None:
        """Follow what changes, to the end of one watch."""
        events = self._api.watch(source.path, self._shape, selector=self._selector, resource_version=source.version)
        async with contextlib.aclosing(events):
            async for event in events:
                source.heard = time.monotonic()
                source.failures = 0
                version = event.object.metadata.resource_version
                if event.type in {"ADDED", "MODIFIED"}:
                    self._take(source, key_of(event.object), event.object)
                elif event.type == "DELETED":
                    self._drop(source, key_of(event.object), event.object)
                # Last: what was told is known before its version is.
                source.version = version or source.version

    def _take(self, source: "_Source[T]", key: Key, item: T) -> None:
        known = source.known.get(key)
        if known is not None and known.metadata.uid != item.metadata.uid:
            self._drop(source, key)
        elif known is not None and known.metadata.resource_version == item.metadata.resource_version:
            return
        source.known[key] = item
        self._changed(item)

    def _drop(self, source: "_Source[T]", key: Key, last: T | None = None) -> None:
        known = source.known.pop(key, None)
        if known is not None:
            self._gone(last or known)


class _Source(Generic[T]):
    """One place that is watched: what is known of it, and as of which version. No version: to be listed."""

    __slots__ = ("failures", "heard", "known", "listed", "path", "version")

    def __init__(self, path: str) -> None:
        self.path = path
        self.known: dict[Key, T] = {}
        self.version = ""
        self.heard = -math.inf
        self.failures = 0
        self.listed = False


def key_of(item: Object) -> Key:
    """Return what tells an object from all others of its kind, but not from one of its name before."""
    return (sys.intern(item.metadata.namespace), item.metadata.name)
