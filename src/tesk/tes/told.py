"""What is told of one move of a task, wherever it is told: to a callback's listener, and on the stream of events."""

from msgspec import Struct


class Told(Struct, frozen=True, kw_only=True):
    """`id` and `state` are those of the extension proposed to TES (task-execution-schemas, pull request 176); the rest is ours.

    `sequence` counts the moves of a task from 1, without holes: a lower one that comes later is old. `time` is RFC 3339.
    """

    id: str
    state: str
    time: str
    sequence: int
    previous_state: str | None
    attempt: int


class PlainTold(Struct, frozen=True, kw_only=True):
    """What the extension has, and no more."""

    id: str
    state: str
