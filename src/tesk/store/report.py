"""Say in sentences what a check found. Pure."""

from collections.abc import Mapping, Sequence

from tesk.store import reads
from tesk.store.shape import Row

_SENTENCES = {
    reads.HOLES: "task {0}: {1} events with sequences from {2} to {3}, so some are missing",
    reads.UNSHOWN: "task {0} is {1}, and its last event says {2}",
    reads.UNTOLD: "task {0} has made {1} moves, and its last event is number {2}",
    reads.BODILESS: "task {0} has no body",
    reads.STRAY: "events of task {0} are there without the task",
    reads.CLAIMED_ENDED: "task {0} has ended and is claimed",
    reads.UNSENT: "task {0} has {2} deliveries that wait, and counts {1}, or nobody would send them",
    reads.UNLISTED: "event {1} of task {0} is not to be delivered, and its callback wants all",
}


def complaints(found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return a sentence for each row that one of `reads.CHECKS` selected."""
    return [_SENTENCES[query].format(*row) for query, rows in found.items() for row in rows]
