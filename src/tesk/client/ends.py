"""Which of some tasks have ended, by what is heard of them. No socket."""

from collections.abc import Sequence

from tesk.client.answers import Document, text_of
from tesk.client.sent import Sent, document_of
from tesk.tes.state import TERMINAL

GAP = "gap"
"""The kind of an event that says that others are not told."""
MOST_TASKS = 10_000
"""So many one stream may name."""


class Ends:
    """The states of some tasks, each as last heard of."""

    def __init__(self, task_ids: Sequence[str]) -> None:
        self.states: dict[str, str] = dict.fromkeys(task_ids, "")
        self._left = len(self.states)
        self._unseen = len(self.states)

    @property
    def over(self) -> bool:
        """Say whether all have ended."""
        return not self._left

    @property
    def ended(self) -> int:
        """Return how many have ended."""
        return len(self.states) - self._left

    def unseen(self) -> list[str]:
        """Return those of which nothing was heard yet."""
        return [task_id for task_id, state in self.states.items() if not state] if self._unseen else []

    def left(self) -> list[str]:
        """Return those that have not ended."""
        return [task_id for task_id, state in self.states.items() if state not in TERMINAL]

    def still(self) -> tuple[str, str]:
        """Return the first that has not ended, and its state."""
        return next(each for each in self.states.items() if each[1] not in TERMINAL)

    def told(self, task_id: str, state: str) -> bool:
        """Hear of a state; say whether it is news."""
        before = self.states.get(task_id)
        if before is None or before == state or before in TERMINAL:
            return False
        self.states[task_id] = state
        self._unseen -= not before
        self._left -= state in TERMINAL
        return True


def moved(sent: Sent) -> Document:
    """Return the move that an event tells of, {} for a heartbeat and what we do not know. Raises StrangeAnswer."""
    document = document_of(sent) if sent.kind == "state" else {}
    return document if text_of(document, "id") and text_of(document, "state") else {}
