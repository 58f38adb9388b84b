"""What a listener keeps: the last of each task, each move that was news, who may tell and read, and whom to ask when."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from tesk.listener.heard import Heard, Verdict
from tesk.tes.told import Told

SIGNED = ""
"""The subscription of callbacks that were signed, not told by a token in their path."""


class Subscription(Struct, frozen=True, kw_only=True):
    """Somebody who is told of tasks. `server` is the TES server that is asked after a silence, "" for none."""

    id: str
    server: str = ""
    server_token: str = ""


class Pass(NamedTuple):
    """What a token is good for: `kind` is `tell` (in the path of a callback) or `read`."""

    subscription: str
    kind: str
    asks: bool
    """Whether there is a server to ask."""


class News(NamedTuple):
    """A move as it was recorded. Positions grow in the order in which moves were recorded, over all listeners."""

    position: int
    subscription: str
    told: Told


class Due(NamedTuple):
    """A task to ask for. `asks` counts how often that was done since something came."""

    subscription: str
    id: str
    asks: int


class Saying(NamedTuple):
    """Something heard, and when to ask for the task next if nothing else comes (None: there is nobody to ask)."""

    heard: Heard
    ask: float | None


class Ledger(Protocol):
    """Durable when a verb has returned. Each verb raises Unavailable where the database does not answer."""

    async def open(self) -> None:
        """Make or upgrade the tables. Raises StartError."""

    async def close(self) -> None:
        """Let go of the database."""

    async def ping(self) -> None:
        """Return when the database answers."""

    async def take(self, sayings: Sequence[Saying]) -> list[Verdict]:
        """Judge and record, all in one transaction and in this order."""

    async def expect(self, subscription: str, task_ids: Sequence[str], at: float, ask: float | None) -> None:
        """Note that somebody waits for tasks of which nothing may have come yet."""

    async def get(self, task_id: str, subscription: str | None) -> Told | None:
        """Return the last of a task; of whomever, where `subscription` is None."""

    async def ended(self, task_ids: Sequence[str], subscription: str | None) -> list[Told]:
        """Return the ends of those that have ended."""

    async def news(self, after: int, limit: int, subscription: str | None = None) -> list[News]:
        """Return moves behind a position, in order."""

    async def newest(self) -> int:
        """Return the position of the newest move, 0 for none."""

    async def oldest(self) -> int:
        """Return the position of the oldest move that is kept; where none is, the one that comes next."""

    async def wait_for_news(self, timeout_seconds: float) -> None:
        """Return when some listener may have recorded something, or at the timeout."""

    async def subscribe(self, subscription: Subscription, tokens: Sequence[tuple[bytes, str]], now: float) -> None:
        """Keep a subscription, or change it, and let more tokens (digest and kind) be good for it."""

    async def subscription(self, subscription: str) -> Subscription | None:
        """Return one."""

    async def unsubscribe(self, subscription: str) -> bool:
        """Forget a subscription, its tokens and its tasks; say whether there was one."""

    async def lookup(self, digest: bytes) -> Pass | None:
        """Return what a token is good for."""

    async def due(self, now: float, until: float, limit: int, far: float = math.inf) -> list[Due]:
        """Return tasks to ask for; nobody else gets them until `until`. What is due later than `far` is due now."""

    async def asked(self, due: Due, ask: float | None) -> None:
        """Note that a task was asked for, and when to do so next; None: no more."""

    async def prune(self, ended_before: float) -> int:
        """Forget ended tasks that were heard of last before then, and moves of that age; return how many tasks."""
