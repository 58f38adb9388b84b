"""Wait for the ends of tasks on one stream of events, which asks nothing of any task while nothing changes."""

import time
from collections.abc import Callable
from math import inf

from tesk.cli.session import Session
from tesk.client.answers import text_of
from tesk.client.ends import GAP, Ends, moved
from tesk.client.subscription import Subscription

_UNSEEN_SECONDS = 1.0
"""When the stream has been silent for so long from its begin, it has told all that is known of a task."""
_FIRST_LOOK_SECONDS = 2.0
_LOOKS = 9
"""So often a task is looked at in one state, after 2, 4, 8 seconds and so on: after a quarter of an hour no more."""


class Looks:
    """When to look at what events do not tell of a task: why it waits, what goes wrong and is tried again."""

    def __init__(self, look: Callable[[], None] | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._clock = clock
        self.due = inf
        self.anew()

    def anew(self) -> None:
        """Begin anew, since the task moved."""
        self._pause, self._left = _FIRST_LOOK_SECONDS, _LOOKS
        self.due = inf if self._look is None else self._clock() + self._pause

    def look(self) -> None:
        """Look, where it is time to."""
        if self._look is not None and self._clock() >= self.due:
            self._look()
            self._pause, self._left = self._pause * 2, self._left - 1
            self.due = self._clock() + self._pause if self._left else inf


def hear_ends(
    session: Session,
    subscription: Subscription,
    ends: Ends,
    *,
    told: Callable[[str], None],
    look: Callable[[], None] | None,
    until: float | None,
) -> None:
    """Return when all have ended, or at `until`. `told` hears of each new state; `look` is called now and then.

    What the stream does not know (events are kept for a time) is asked for once. Raises NotFound for an id that is
    nobody's.
    """
    looks = Looks(look)
    asked, silent = False, inf

    def ticks() -> float:
        return max(0.0, min(looks.due, until or inf, silent) - time.monotonic())

    for sent in session.follow(subscription, ticks):
        move = {} if sent is None else moved(sent)
        task_id, state = text_of(move, "id"), text_of(move, "state")
        if move and ends.told(task_id, state):
            told(state)
            looks.anew()
        now = time.monotonic()
        gap = sent is not None and sent.kind == GAP
        if gap or (not asked and (now >= silent or (sent is not None and not move))):
            asked, silent = True, inf
            for task_id in ends.left() if gap else ends.unseen():
                state = text_of(session.ask(session.calls.get(task_id, "MINIMAL")), "state")
                if ends.told(task_id, state):
                    told(state)
        elif not asked and (move or silent == inf):
            silent = now + _UNSEEN_SECONDS
        if ends.over or (until is not None and now >= until):
            return
        looks.look()
