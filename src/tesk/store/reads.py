"""What is read, as SQL that both databases understand. Pure.

Every list walks one index from a keyset on; how many of its rows are looked at is bounded, whatever else is asked.
"""

from typing import NamedTuple

from msgspec.structs import asdict

from tesk.store.pairs import has_own_index, pair_hash
from tesk.store.rows import ENDLESS, ListQuery, Room
from tesk.store.shape import searchable
from tesk.store.sql import Parameters, Value
from tesk.tes.view import View

LOOKED_AT = 5000
"""Most rows that are looked at for one page with filters that its index does not answer."""

_FARTHEST_SECONDS = 600.0
"""No task waits longer for another attempt: one that seems to was told to by a clock that was set back since, and is due."""

_ABOVE_ALL = "~"
"""Greater than every id."""

HEAD = "t.id, t.owner, t.state, t.created, t.revision"
_RESOURCES = "t.cpu_cores, t.ram_bytes, t.disk_bytes"
_MARK = "t.id || t.revision || t.state"

MARK = f"SELECT {_MARK}, t.owner FROM task t WHERE t.id = :id"
EXISTS = "SELECT 1 FROM task LIMIT 1"
STATE = "SELECT state FROM task WHERE id = :id"
NEWEST = "SELECT max(id) FROM task"
COUNTS = """
    SELECT state, count(*) FROM task
    WHERE state IN ('QUEUED', 'INITIALIZING', 'RUNNING', 'CANCELING') GROUP BY state
"""

_WAITING = """
    SELECT id, attempts, cpu_cores, ram_bytes, disk_bytes, gpus FROM task
    WHERE state = 'QUEUED' AND id > :after AND (due <= :now OR due > :far) {}ORDER BY id LIMIT :limit
"""
# Cores count in thousandths.
_WITHIN = (
    "AND cpu_cores < :cpu_cores + 0.0005 AND ram_bytes <= :ram_bytes AND disk_bytes <= :disk_bytes AND gpus <= :gpus "
)
NEXT_DUE = "SELECT min(due) FROM task WHERE due > 0 AND due > :now AND state = 'QUEUED'"

CLAIMED = """
    t.id, t.owner, t.state, t.attempts, t.failures, t.cpu_cores, t.ram_bytes, t.disk_bytes, a.place, a.started,
    b.body, b.extension
"""
FROM_CLAIMED = "FROM task t JOIN attempt a ON a.id = t.id AND a.number = t.attempts JOIN body b ON b.id = t.id"

CLAIMS = "SELECT id, state FROM task WHERE claim = :claim"
STANDING = "SELECT id, state, attempts FROM task WHERE id {}"
CANCELING = "SELECT id FROM task WHERE claim = :claim AND state = 'CANCELING'"

HOLES = """
    SELECT id, count(*), min(sequence), max(sequence) FROM event
    GROUP BY id HAVING count(*) <> max(sequence) - min(sequence) + 1 LIMIT 100
"""
UNSHOWN = """
    SELECT t.id, t.state, e.state FROM task t JOIN event e ON e.id = t.id AND e.sequence = t.sequence
    WHERE e.state <> t.state LIMIT 100
"""
UNTOLD = """
    SELECT t.id, t.sequence, max(e.sequence) FROM task t JOIN event e ON e.id = t.id
    GROUP BY t.id, t.sequence HAVING max(e.sequence) <> t.sequence LIMIT 100
"""
BODILESS = "SELECT id FROM task t WHERE NOT EXISTS (SELECT 1 FROM body b WHERE b.id = t.id) LIMIT 100"
STRAY = "SELECT DISTINCT id FROM event e WHERE NOT EXISTS (SELECT 1 FROM task t WHERE t.id = e.id) LIMIT 100"
CLAIMED_ENDED = "SELECT id FROM task WHERE claim IS NOT NULL AND ended IS NOT NULL LIMIT 100"
UNSENT = """
    SELECT c.id, c.open, count(d.id) FROM callback c LEFT JOIN delivery d ON d.id = c.id AND d.status = 'pending'
    GROUP BY c.id, c.open, c.due HAVING c.open <> count(d.id) OR (c.due IS NULL) <> (c.open = 0) LIMIT 100
"""
UNLISTED = """
    SELECT e.id, e.sequence FROM event e JOIN task t ON t.id = e.id WHERE t.lane IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.id = e.id AND d.sequence = e.sequence) LIMIT 100
"""
CHECKS = (HOLES, UNSHOWN, UNTOLD, BODILESS, STRAY, CLAIMED_ENDED, UNSENT, UNLISTED)
"""What must select nothing in a sound database."""


def details(tasks: str, view: View) -> str:
    """Return what selects all that a view shows of the tasks that `tasks` selects, resources and all; one row an executor log."""
    full = view is View.FULL
    return f"""
        SELECT {HEAD},
            CASE WHEN coalesce(a.number, 1) = 1 AND coalesce(x.executor, 0) = 0 THEN b.body END, b.extension,
            a.number, a.start_time, a.end_time, a.metadata, a.outputs, {"a.notes" if full else "NULL"},
            x.executor, x.log, {"x.stdout, x.stderr" if full else "NULL, NULL"}, {_RESOURCES}
        FROM ({tasks}) t JOIN body b ON b.id = t.id
        LEFT JOIN attempt a ON a.id = t.id
        LEFT JOIN executor_log x ON x.id = a.id AND x.number = a.number
    """


def waiting(*, limit: int, after: str | None, now: float, within: Room) -> tuple[str, Parameters]:
    """Return what selects the QUEUED tasks that are due and ask for no more than `within`, with its parameters."""
    which: dict[str, Value] = {"after": after or "", "now": now, "far": now + _FARTHEST_SECONDS, "limit": limit}
    if within == ENDLESS:
        return _WAITING.format(""), which
    return _WAITING.format(_WITHIN), {**which, **asdict(within)}


def one(view: View) -> str:
    """Return what selects one task, `:id`."""
    return some("= :id", view)


def some(named: str, view: View) -> str:
    """Return what selects the tasks whose ids fit a condition; in one statement, so that each is of one moment."""
    if view is View.MINIMAL:
        return f"SELECT {HEAD} FROM task t WHERE t.id {named}"
    return details(f"SELECT {HEAD}, {_RESOURCES} FROM task t WHERE t.id {named}", view)


def events(*, owner: bool, named: str, visible: str) -> str:
    """Return what selects events after `:after`, of all tasks or those whose ids fit the condition `named`.

    `visible` is a condition on the position that the database adds. `+`: of named tasks it is their index that is walked.
    """
    of_tasks = f"AND id {named}" if named else ""
    return f"""
        SELECT position, id, owner, sequence, previous, state, attempt, time FROM event
        WHERE {"+" if named else ""}position > :after {"AND owner = :owner" if owner else ""} {of_tasks} {visible}
        ORDER BY {"+" if named else ""}position LIMIT :limit
    """


def span(visible: str) -> str:
    """Return what selects the lowest and the highest position of events, 0 where there are none."""
    return f"""
        SELECT coalesce((SELECT min(position) FROM event), 0),
            coalesce((SELECT max(position) FROM event WHERE position > 0 {visible}), 0)
    """


LABELS = "SELECT id, body FROM body WHERE id {}"


class PageQuery(NamedTuple):
    """How one page is read.

    `floor`, if any, selects how far down the index is looked at (count, lowest id); its answer is `:floor` of `page`.
    `page` selects one value, the marks with commas between: a row of the driver's for each would cost more than all else.
    """

    floor: str | None
    page: str
    parameters: dict[str, Value]


def page(query: ListQuery, gather: str) -> PageQuery:
    """Return what selects a page and one task more, so that its end is known. `gather` is the database's way to join texts."""
    # Pairs with a value are the rarer ones: the first of them is walked.
    tags = sorted(query.tags, key=lambda tag: tag[1] is None)
    by_owner = query.owner is not None and has_own_index(query.owner)
    pairs = {
        f"pair{n}": pair_hash(query.owner if by_owner else None, key, value) for n, (key, value) in enumerate(tags)
    }
    parameters: dict[str, Value] = {
        "before": query.before or _ABOVE_ALL,
        "floor": "",
        "wanted": query.page_size + 1,
        "looked": max(LOOKED_AT, query.page_size + 1),
        **pairs,
    }
    rest = [f"EXISTS (SELECT 1 FROM tag g WHERE g.pair = :{name} AND g.id = t.id)" for name in list(pairs)[1:]]
    # What is walked: one index, newest first, from where the last page ended. CROSS JOIN: SQLite keeps to that order.
    if tags:
        walked, its, joined, narrowed = "tag w", "w", "tag w CROSS JOIN task t", "w.pair = :pair0 AND t.id = w.id"
    else:
        walked, its, joined, narrowed = "task t", "t", "task t", ""
    if query.owner is not None:
        parameters["owner"] = query.owner
        if not tags:
            narrowed = "t.owner = :owner"
        elif not by_owner:
            rest.append("t.owner = :owner")
    if query.state is not None:
        parameters["state"] = query.state.value
        if narrowed:
            rest.append("t.state = :state")
        else:
            narrowed = "t.state = :state"
    if query.name_prefix:
        parameters["prefix"] = searchable(query.name_prefix)
        rest.append("substr(t.name, 1, length(:prefix)) = :prefix")

    conditions = " AND ".join(filter(None, (narrowed, f"{its}.id < :before", f"{its}.id >= :floor", *rest)))
    selected = f"SELECT {_MARK} AS mark FROM {joined} WHERE {conditions} ORDER BY {its}.id DESC LIMIT :wanted"
    looked = " AND ".join(filter(None, (narrowed.removesuffix(" AND t.id = w.id"), f"{its}.id < :before")))
    floor = f"""
        SELECT count(*), min(id) FROM
        (SELECT {its}.id FROM {walked} WHERE {looked} ORDER BY {its}.id DESC LIMIT :looked) looked
    """
    return PageQuery(floor if rest else None, f"SELECT {gather}(mark, ',') FROM ({selected}) page", parameters)
