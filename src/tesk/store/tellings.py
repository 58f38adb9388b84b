"""Between rows of deliveries and their values, and what is read of them by both databases. Pure."""

from collections.abc import Mapping, Sequence

from tesk.caller import Caller
from tesk.store.outbox import Backlog, Delivery, Due, Outgoing, Pending, Place, Sent, Status, Subscription, lane_of
from tesk.store.rows import STATES
from tesk.store.shape import Row
from tesk.store.sql import Scalar
from tesk.tes.state import State

# From one lane to the next along the index, however much waits in each.
LANES = """
    WITH RECURSIVE each(lane) AS (
        SELECT (SELECT min(lane) FROM callback WHERE due IS NOT NULL AND lane > :after)
        UNION ALL
        SELECT (SELECT min(c.lane) FROM callback c WHERE c.due IS NOT NULL AND c.lane > each.lane)
        FROM each WHERE each.lane IS NOT NULL
    )
    SELECT lane, (SELECT min(c.due) FROM callback c WHERE c.due IS NOT NULL AND c.lane = each.lane) FROM each
    WHERE lane IS NOT NULL LIMIT :limit
"""

_MOVE = "d.sequence, d.previous, d.state, d.attempt, d.time"

PENDING = (
    f"SELECT d.id, {_MOVE}, d.tries FROM delivery d WHERE d.id {{}} AND d.status = 'pending' ORDER BY d.id, d.sequence"
)

SUBSCRIPTION = f"""
    SELECT t.owner, c.url, c.due, c.ended, {_MOVE}, d.status, d.tries, d.tried, d.latency, d.code, d.answer, d.error
    FROM callback c JOIN task t ON t.id = c.id JOIN delivery d ON d.id = c.id WHERE c.id = :id ORDER BY d.sequence
"""

REOPEN = """
    UPDATE delivery SET status = 'pending' WHERE id = :id AND status <> 'pending'
    AND CASE WHEN CAST(:sequence AS integer) IS NULL THEN status = 'failed' ELSE sequence = CAST(:sequence AS integer) END
"""

# The next tasks that wait for a host, in the order of the index.
WAITING = """
    SELECT c.id, c.lane, c.due FROM callback c
    WHERE c.due IS NOT NULL AND c.lane < :end AND (c.lane, c.due, c.id) > (:lane, :after, :id)
    ORDER BY c.lane, c.due, c.id LIMIT :limit
"""

# Whoever was never tried shall say why, too.
GIVEN_UP = """
    status = 'failed', error = CASE WHEN tries = 0 THEN 'not sent in time: nobody answers at this host' ELSE error END
"""

BACKLOG = """
    SELECT coalesce(sum(open), 0), (SELECT count(*) FROM delivery WHERE status = 'failed'), min(since)
    FROM callback WHERE due IS NOT NULL
"""


def waiting(origin: str, limit: int, after: Place | None) -> dict[str, Scalar]:
    """Return the parameters of WAITING."""
    lane, moment, task_id = after or (lane_of(origin, ""), -1e18, "")
    # Behind the blank of a lane comes the owner.
    return {"end": f"{origin}!", "lane": lane, "after": moment, "id": task_id, "limit": limit}


def following(rows: Sequence[Row], limit: int) -> Place | None:
    """Return where to go on behind what WAITING selected: id, lane and due time first."""
    return Place(rows[-1][1], rows[-1][2], rows[-1][0]) if len(rows) == limit else None


def due(row: Row) -> Due:
    """Make a lane of what LANES selects."""
    return Due(lane=row[0], due=row[1])


def outgoing(claim: int, found: Mapping[str, tuple[str, str]], rows: Sequence[Row]) -> list[Outgoing]:
    """Make what is to be sent of tasks (each with its lane and URL), and of what PENDING selects of them."""
    moves: dict[str, list[Pending]] = {task_id: [] for task_id in found}
    for task_id, sequence, previous, state, attempt, time, tries in rows:
        moves[task_id].append(
            Pending(
                sequence=sequence,
                previous_state=_state(previous),
                state=STATES[state],
                attempt=attempt,
                time=time,
                tries=tries,
            )
        )
    return [
        Outgoing(task_id=task_id, claim=claim, lane=lane, url=url, moves=tuple(moves[task_id]))
        for task_id, (lane, url) in found.items()
    ]


def progress(sent: Sent) -> dict[str, Scalar]:
    """Return how what became of a task's deliveries changes its row."""
    settled = [each for each in sent.tries if each.status is not Status.PENDING]
    return {
        "id": sent.task_id,
        "settled": len(settled),
        "due": sent.due,
        "progress": settled[-1].time if settled else None,
    }


def ends(sent: Sent) -> bool:
    """Say whether the listener wants to hear no more of the task."""
    return any(each.status is Status.ENDED for each in sent.tries)


def subscription(rows: Sequence[Row], caller: Caller) -> Subscription | None:
    """Make a subscription of what SUBSCRIPTION selects, None where the caller may not see it."""
    if not rows or not caller.may_see(rows[0][0]):
        return None
    owner, url, following, ended = rows[0][:4]
    return Subscription(
        owner=owner, url=url, due=following, ended=bool(ended), deliveries=tuple(_delivery(row[4:]) for row in rows)
    )


def _delivery(row: Row) -> Delivery:
    return Delivery(
        sequence=row[0],
        previous_state=_state(row[1]),
        state=STATES[row[2]],
        attempt=row[3],
        time=row[4],
        status=Status(row[5]),
        tries=row[6],
        tried=row[7],
        latency_seconds=row[8],
        code=row[9],
        answer=row[10] or "",
        error=row[11] or "",
    )


def backlog(row: Row) -> Backlog:
    """Make a backlog of what BACKLOG selects."""
    return Backlog(pending=row[0], failed=row[1], oldest=row[2])


def _state(name: str | None) -> State | None:
    return None if name is None else STATES[name]
