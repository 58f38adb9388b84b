"""What is to be told of tasks, and to whom: the seam to the deliveries of callbacks. The store fills it with each move."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from msgspec import Struct

from tesk.caller import Caller
from tesk.tes.state import State

FARTHEST_SECONDS = 3600.0
"""No delivery waits longer for its next try: one that seems to was told to by a clock that was set back since, and is due."""


class Status(StrEnum):
    """How a delivery stands. ENDED: its listener wants to hear no more of the task."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    ENDED = "ended"


def lane_of(origin: str, owner: str) -> str:
    """Return the lane of an owner's tasks for a host, `https://listener.example:443`: each lane gets its turn."""
    return f"{origin} {owner}"


def origin_of(lane: str) -> str:
    """Return the host that a lane leads to."""
    return lane.partition(" ")[0]


def owner_of(lane: str) -> str:
    """Return whose tasks are in a lane."""
    return lane.partition(" ")[2]


class Due(Struct, frozen=True, kw_only=True):
    """A lane in which something waits, and from when on its first may be sent; seconds since the epoch."""

    lane: str
    due: float


class Pending(Struct, frozen=True, kw_only=True):
    """A move that a listener is to hear of. `tries` have been made already; `time` is that of the move."""

    sequence: int
    previous_state: State | None
    state: State
    attempt: int
    time: float
    tries: int


class Outgoing(Struct, frozen=True, kw_only=True):
    """A task that was taken to be told of: its moves in order, of which some may be left for the next time.

    `claim` says who took it: a word of who took it before is not believed.
    """

    task_id: str
    claim: int
    lane: str
    url: str
    moves: tuple[Pending, ...]


class Try(Struct, frozen=True, kw_only=True):
    """What became of one sending. `code` None: no answer came, and `error` says why.

    PENDING: it is to be tried again. `answer` is the beginning of what the listener said.
    """

    sequence: int
    status: Status
    time: float
    latency_seconds: float
    code: int | None = None
    answer: str = ""
    error: str = ""


class Sent(Struct, frozen=True, kw_only=True):
    """What became of an `Outgoing`, in order. `due`: when what still waits of the task may be sent."""

    task_id: str
    claim: int
    tries: tuple[Try, ...]
    due: float


class Delivery(Struct, frozen=True, kw_only=True):
    """One move of a task and how far its listener knows of it: what people look at. The last try's answer, if there was one."""

    sequence: int
    previous_state: State | None
    state: State
    attempt: int
    time: float
    status: Status
    tries: int
    tried: float | None
    latency_seconds: float | None
    code: int | None
    answer: str
    error: str


class Subscription(Struct, frozen=True, kw_only=True):
    """Where a task's moves are told. `due`: when the next is sent (None: nothing waits). `ended`: the listener wants no more."""

    owner: str
    url: str
    due: float | None
    ended: bool
    deliveries: tuple[Delivery, ...]


class Place(NamedTuple):
    """How far a look through the tasks that wait for a host has come."""

    lane: str
    due: float
    task_id: str


class Backlog(Struct, frozen=True, kw_only=True):
    """How much waits, has failed, and since when the listener that waits longest has heard nothing; seconds since the epoch."""

    pending: int
    failed: int
    oldest: float | None


class Outbox(Protocol):
    """Deliveries, each written in the transaction that moved the task. Every verb raises Unavailable as `Store` does."""

    async def wait(self, timeout_seconds: float) -> None:
        """Return when there may be something new to send, at once if that was so since the last return, or at the timeout."""

    async def lanes(self, *, limit: int, after: str = "") -> Sequence[Due]:
        """Return the lanes in which something waits, by name, from after one."""

    async def take(
        self, lanes: Sequence[str], *, now: float, each: int, hold_seconds: float = 120.0
    ) -> Sequence[Outgoing]:
        """Claim tasks of which something is due, at most `each` of a lane, longest due first.

        Nobody else is given them until `record`, or for so long.
        """

    async def reclaim(self, *, now: float) -> None:
        """Let be taken at once what servers hold whose lease has ended since: they were killed, or are cut off."""

    async def record(self, sent: Sequence[Sent]) -> None:
        """Say what became of what was taken: durable on return. Nothing is believed of what somebody else has taken since."""

    async def give_up(
        self, origin: str, *, now: float, before: float, limit: int, after: Place | None = None
    ) -> tuple[int, Place | None]:
        """Let fail what a host was not told of moves up to a time, of the next `limit` tasks that wait for it.

        Returns how many deliveries, and the place to go on from, None at the end. What is taken is left alone.
        """

    async def subscription(self, task_id: str, caller: Caller) -> Subscription | None:
        """Return what a task's listener was told, None where the caller sees no such task, or nobody is told of it."""

    async def redeliver(self, task_id: str, caller: Caller, *, time: float, sequence: int | None = None) -> int | None:
        """Send again what failed of a task, or one delivery whatever became of it; return how many. None as above."""

    async def backlog(self) -> Backlog:
        """Return how much waits."""
