"""One move of a task, as every reader of the event stream sees it."""

from msgspec import Struct

from tesk.tes.state import State


class Event(Struct, frozen=True, kw_only=True):
    """`position` orders all events of all tasks as they were committed; `sequence` counts a task's own from 1, without holes.

    `previous_state` is None for the first. `time` is seconds since the epoch, `attempt` 0 before the first start.
    """

    position: int
    task_id: str
    owner: str
    sequence: int
    previous_state: State | None
    state: State
    attempt: int
    time: float
