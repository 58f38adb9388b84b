"""What somebody hears who waits for tasks, and what must be asked beside: for both clients. No socket."""

import time
from collections.abc import Callable, Sequence
from math import inf

from tesk.client.answers import text_of
from tesk.client.calls import Call, Calls
from tesk.client.ends import GAP, Ends, moved
from tesk.client.results import ServedTask, TaskEvent, served_task, task_event
from tesk.client.sent import Sent
from tesk.client.subscription import Subscription, Trouble
from tesk.errors import EventsMissed, NotEnded
from tesk.tes.state import TERMINAL, State
from tesk.tes.view import View

Told = Callable[[str], None]
"""Hears of a state."""


class One:
    """One task that is waited for, and for how long yet."""

    def __init__(self, task_id: str, timeout_seconds: float | None, told: Told) -> None:
        self._task_id = task_id
        self._ends = Ends((task_id,))
        self._timeout_seconds = timeout_seconds
        self._until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._told = told

    def left(self) -> float:
        """Return how many seconds are left."""
        return inf if self._until is None else max(0.0, self._until - time.monotonic())

    def rest(self) -> float | None:
        """Return the same, None for ever."""
        return None if self._until is None else self.left()

    def heard(self, sent: Sent | None) -> None:
        """Hear an event, or that none came. Raises NotEnded at the timeout."""
        move = {} if sent is None else moved(sent)
        if move and text_of(move, "id") == self._task_id:
            self._state(text_of(move, "state"))
        if not self._ends.over and not self.left():
            raise self.late()

    def late(self) -> NotEnded:
        """Return what is raised at the timeout."""
        state = self._ends.states[self._task_id] or "not seen"
        return NotEnded(f"task {self._task_id} is still {state} after {self._timeout_seconds:g} s")

    @staticmethod
    def broke(stream: Subscription, error: Trouble) -> None:
        """Raise what ended a stream, but where there is none here whatever one does: a long poll passes everywhere."""
        if not stream.is_kept_back:
            raise error

    def ended(self, calls: Calls) -> Call[ServedTask]:
        """Return the task (BASIC) once it has ended, which may have been heard. Raises NotEnded."""
        if not self._ends.over:
            try:
                yield from calls.wait(
                    self._task_id, clock=time.monotonic, timeout_seconds=self.rest(), told=self._state
                )
            except NotEnded:
                raise self.late() from None
        return served_task((yield from calls.get(self._task_id, View.BASIC)))

    def _state(self, state: str) -> None:
        if self._ends.told(self._task_id, state):
            self._told(state)


class Many:
    """Tasks whose last events are waited for."""

    def __init__(self, calls: Calls, tasks: Sequence[str]) -> None:
        self._calls = calls
        self._ends = Ends(tasks)
        self._asked = False

    @property
    def over(self) -> bool:
        """Say whether all have ended."""
        return self._ends.over

    def heard(self, sent: Sent) -> Call[list[TaskEvent]]:
        """Return the last events of those that have ended with this one.

        What a stream does not know, since events are kept for a time, is asked for: once when it has told all that it
        knows, which it shows by a heartbeat, and at each gap. Raises NotFound for an id that is nobody's.
        """
        if move := moved(sent):
            event = task_event(sent.id, move)
            return [event] if self._ends.told(event.id, text_of(move, "state")) and event.ended else []
        news: list[TaskEvent] = []
        if sent.kind == GAP or not (sent.data or self._asked):
            self._asked = True
            for task_id in self._ends.left() if sent.kind == GAP else self._ends.unseen():
                state = text_of((yield from self._calls.get(task_id, View.MINIMAL)), "state")
                if self._ends.told(task_id, state) and state in TERMINAL:
                    news.append(TaskEvent(position=sent.id, id=task_id, state=State(state)))
        return news


def event_of(sent: Sent) -> TaskEvent | None:
    """Return the move that an event tells of, None where it tells of none. Raises EventsMissed, StrangeAnswer."""
    if sent.kind == GAP:
        raise EventsMissed(
            "some events behind the place that was asked for are not kept, or it is none of this server's database: "
            "ask once for the tasks that matter, and follow from now on"
        )
    move = moved(sent)
    return task_event(sent.id, move) if move else None
