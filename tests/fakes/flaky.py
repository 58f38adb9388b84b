"""A real SQLite store whose answers can be made to fail, before or after the work is done: as when a connection breaks."""

import asyncio
import random

from tesk.errors import Unavailable
from tesk.store.sqlite.store import SqliteStore

VERBS = (
    "acquire",
    "renew",
    "waiting",
    "next_due",
    "begin",
    "refuse",
    "claimed",
    "unheld",
    "adopt",
    "move",
)


class FlakyStore(SqliteStore):
    """`gone`: no verb works. `chance`: the share of calls that fail, half of them after they have happened."""

    def __init__(self, path, *, seed=1, **more):
        super().__init__(path, **more)
        self.gone = False
        self.chance = 0.0
        self.failures: asyncio.Queue[str] = asyncio.Queue()
        self._dice = random.Random(seed)


def _failing(name):
    whole = getattr(SqliteStore, name)

    async def verb(self, *arguments, **more):
        fails = self.gone or self._dice.random() < self.chance
        if fails and (self.gone or self._dice.random() < 0.5):
            self.failures.put_nowait(name)
            raise Unavailable(f"the database is gone ({name})")
        answer = await whole(self, *arguments, **more)
        if fails:
            self.failures.put_nowait(name)
            raise Unavailable(f"the connection broke ({name})")
        return answer

    return verb


for _name in VERBS:
    setattr(FlakyStore, _name, _failing(_name))
