"""What is worth a look, each thing once and never by two workers at the same time. No database, no backend."""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class WorkQueue(Generic[Key]):
    """Keys in order of arrival. A key that is added while a worker has it comes again when that worker is done."""

    def __init__(self) -> None:
        self._ready: deque[Key] = deque()
        self._queued: set[Key] = set()
        self._active: set[Key] = set()
        self._timers: dict[Key, tuple[float, asyncio.TimerHandle]] = {}
        self._takers: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """How many keys wait for a worker or are with one."""
        return len(self._queued | self._active)

    def __contains__(self, key: object) -> bool:
        """Say whether a key waits for a worker or is with one."""
        return key in self._queued or key in self._active

    def add(self, key: Key) -> None:
        """Have a key looked at soon. Adding it again before that changes nothing."""
        self._cancel_timer(key)
        if key in self._queued:
            return
        self._queued.add(key)
        if key not in self._active:
            self._offer(key)

    def add_later(self, key: Key, seconds: float) -> None:
        """Have a key looked at after a while; where two whiles are asked for, the shorter one counts."""
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        if key in self._queued or (key in self._timers and self._timers[key][0] <= when):
            return
        self._cancel_timer(key)
        # Some loops' handles do not say when they come.
        self._timers[key] = when, loop.call_later(seconds, self.add, key)

    async def get(self) -> Key:
        """Wait for a key and take it; give it back with `done`."""
        while not self._ready:
            taker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                if taker in self._takers:
                    self._takers.remove(taker)
                elif self._ready:
                    self._wake()  # it was woken for a key that it will not take
                raise
        key = self._ready.popleft()
        self._queued.discard(key)
        self._active.add(key)
        return key

    def done(self, key: Key) -> None:
        """Say that the worker has finished with a key that it got."""
        self._active.discard(key)
        if key in self._queued:
            self._offer(key)

    def drop(self, key: Key) -> None:
        """Take back a later look that is not wanted any more."""
        self._cancel_timer(key)

    def close(self) -> None:
        """Cancel all later looks."""
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _offer(self, key: Key) -> None:
        self._ready.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return

    def _cancel_timer(self, key: Key) -> None:
        if key in self._timers:
            self._timers.pop(key)[1].cancel()
