"""Remove containers that have ended, many in one call of the engine where many end at once: a call costs a process."""

import asyncio

from tesk.compute.containers.engine import Engine
from tesk.errors import BackendUnavailable


class Removal:
    """One call at a time; what comes meanwhile goes together in the next."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._wanted: list[str] = []
        self._left: set[str] = set()
        self._turn = asyncio.Lock()

    async def remove(self, name: str) -> bool:
        """Return when a container was removed; False where it may be left, since the engine did not remove all that it was to."""
        self._wanted.append(name)
        async with self._turn:
            if name in self._wanted:
                wanted, self._wanted = self._wanted, []
                try:
                    await self._engine.remove(wanted)
                except BackendUnavailable:
                    self._left.update(wanted)
        left = name in self._left
        self._left.discard(name)
        return not left
