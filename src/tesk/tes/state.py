"""The states of a task and the moves that are legal between them."""

from enum import StrEnum


class State(StrEnum):
    """`tesState`. UNKNOWN, PAUSED and PREEMPTED are words of the spec that TESK never shows; they are valid filters."""

    UNKNOWN = "UNKNOWN"
    QUEUED = "QUEUED"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    EXECUTOR_ERROR = "EXECUTOR_ERROR"
    SYSTEM_ERROR = "SYSTEM_ERROR"
    CANCELED = "CANCELED"
    PREEMPTED = "PREEMPTED"
    CANCELING = "CANCELING"


TERMINAL = frozenset({State.COMPLETE, State.EXECUTOR_ERROR, State.SYSTEM_ERROR, State.CANCELED})
"""A task in one of these has ended and never moves again."""

ACTIVE = frozenset({State.QUEUED, State.INITIALIZING, State.RUNNING, State.CANCELING})
"""The states that TESK shows before the end."""

_ENDS = frozenset({State.COMPLETE, State.EXECUTOR_ERROR, State.SYSTEM_ERROR})

MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.INITIALIZING, State.RUNNING, State.CANCELING}) | _ENDS,
    State.INITIALIZING: frozenset({State.QUEUED, State.RUNNING, State.CANCELING}) | _ENDS,
    State.RUNNING: frozenset({State.QUEUED, State.CANCELING}) | _ENDS,
    State.CANCELING: frozenset({State.CANCELED}),
}
"""From each state, where a task may go. Forward with skips; back to QUEUED only for a new attempt; CANCELED only by CANCELING."""


def may_move(old: State, new: State) -> bool:
    """Say whether a task may go from `old` to `new` in one move."""
    return new in MOVES.get(old, frozenset())
