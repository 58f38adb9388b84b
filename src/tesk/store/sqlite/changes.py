"""What the writer's thread does to tasks, each inside an open transaction."""

import sqlite3
from collections.abc import Collection, Sequence
from itertools import chain, pairwise

from tesk.caller import Caller
from tesk.errors import Unprocessable
from tesk.store import shape
from tesk.store.idempotency import KEY_SECONDS, REUSED
from tesk.store.pairs import pack, pair_hashes
from tesk.store.rows import STATES, Claimed, Created, Lease, Move, NewTask, Results, Room, is_legal
from tesk.tes.state import TERMINAL, State, may_move

_ROWS = 64
"""Most rows of one INSERT: few statements for a batch, and few different ones to prepare.

Each statement that is stepped lets other threads have the interpreter and then waits for it; a row each would be slow
while the event loop is busy.
"""
_ROWS_OF_MANY = 512
"""The same for batches, whose tasks are read meanwhile."""


def create(connection: sqlite3.Connection, news: Sequence[NewTask]) -> list[Created | Exception]:
    """Store new tasks with their first events, one answer each."""
    answers: list[Created | Exception] = []
    fresh: list[NewTask] = []
    for new in news:
        # A batch is tried whole first; alone, a task whose creation is repeated is found out.
        answer = _known(connection, new) if new.idempotency_key is not None or len(news) == 1 else None
        if answer is None:
            answer = Created(id=new.id, repeated=False)
            fresh.append(new)
        answers.append(answer)
    insert(
        connection,
        "task (id, owner, state, created, sequence, attempts, failures, due, cpu_cores, ram_bytes, disk_bytes, gpus, name, lane)",
        "(?, ?, 'QUEUED', ?, 1, 0, 0, 0, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(n.id, n.owner, n.created, n.cpu_cores, n.ram_bytes, n.disk_bytes, n.gpus, shape.searchable(n.name)),
                None if n.callback is None else n.callback.lane,
            )
            for n in fresh
        ],
    )
    hashes = [pair_hashes(new.owner, new.tags) for new in fresh]
    insert(
        connection,
        "body (id, body, extension, pairs)",
        "(?, ?, ?, ?)",
        [(new.id, new.body, shape.extension_json(new), pack(own)) for new, own in zip(fresh, hashes, strict=True)],
    )
    insert(
        connection,
        "tag (pair, id)",
        "(?, ?)",
        sorted((pair, new.id) for new, own in zip(fresh, hashes, strict=True) for pair in own),
    )
    insert(
        connection,
        "event (id, owner, sequence, previous, state, attempt, time)",
        "(?, ?, 1, NULL, 'QUEUED', 0, ?)",
        [(new.id, new.owner, new.created) for new in fresh],
    )
    if subscribed := [(new, new.callback) for new in fresh if new.callback is not None]:
        insert(
            connection,
            "callback (id, lane, url, open, due, since)",
            "(?, ?, ?, 1, ?, ?)",
            [(new.id, to.lane, to.url, new.created, new.created) for new, to in subscribed],
        )
        insert(
            connection,
            "delivery (id, sequence, previous, state, attempt, time)",
            "(?, 1, NULL, 'QUEUED', 0, ?)",
            [(new.id, new.created) for new, _ in subscribed],
        )
    return answers


def insert(connection: sqlite3.Connection, into: str, places: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows, many by each statement."""
    at = 0
    while at < len(rows):
        some = rows[at : at + (_ROWS_OF_MANY if len(rows) - at >= _ROWS_OF_MANY else _ROWS)]
        at += len(some)
        statement = f"INSERT INTO {into} VALUES {', '.join([places] * len(some))}"
        connection.execute(statement, [*chain.from_iterable(some)])


def create_all(connection: sqlite3.Connection, news: Sequence[NewTask]) -> list[Created]:
    """Store all of some tasks. See `Store.create_all`."""
    # They were stored together, so one tells of all.
    repeated = connection.execute("SELECT 1 FROM task WHERE id = ?", (news[0].id,)).fetchone() is not None
    if not repeated:
        create(connection, news)
    return [Created(id=new.id, repeated=repeated) for new in news]


def remember(
    connection: sqlite3.Connection, *, owner: str, key: str, body_hash: bytes, task_id: str, time: float
) -> str:
    """Keep an id under a key, or return the one that is kept. See `Store.remember`."""
    found = connection.execute(
        "SELECT id, body_hash FROM idempotency WHERE owner = ? AND key = ? AND created > ?",
        (owner, key, time - KEY_SECONDS),
    ).fetchone()
    if found is not None:
        if found[1] != body_hash:
            raise Unprocessable(REUSED)
        return str(found[0])
    # Each new key takes a few old ones away, so the table stays a day long.
    connection.execute(
        "DELETE FROM idempotency WHERE (owner, key) IN "
        "(SELECT owner, key FROM idempotency WHERE created <= ? ORDER BY created LIMIT 4)",
        (time - KEY_SECONDS,),
    )
    connection.execute(
        "INSERT OR REPLACE INTO idempotency (owner, key, body_hash, id, created) VALUES (?, ?, ?, ?, ?)",
        (owner, key, body_hash, task_id, time),
    )
    return task_id


def _known(connection: sqlite3.Connection, new: NewTask) -> Created | Exception | None:
    if connection.execute("SELECT 1 FROM task WHERE id = ?", (new.id,)).fetchone() is not None:
        return Created(id=new.id, repeated=True)
    if new.idempotency_key is None:
        return None
    try:
        kept = remember(
            connection,
            owner=new.owner,
            key=new.idempotency_key,
            body_hash=new.body_hash,
            task_id=new.id,
            time=new.created,
        )
    except Unprocessable as error:
        return error
    return None if kept == new.id else Created(id=kept, repeated=True)


def cancel(connection: sqlite3.Connection, task_id: str, caller: Caller, time: float) -> State | None:
    """Ask for the end of a task. See `Store.cancel`."""
    state = _seen(connection, task_id, caller)
    return (
        _cancel(connection, task_id, state, time) if state is not None and may_move(state, State.CANCELING) else state
    )


def cancel_all(
    connection: sqlite3.Connection, task_ids: Sequence[str], caller: Caller, states: Collection[State], time: float
) -> list[str]:
    """Ask for the end of those of some tasks that are in one of `states`. See `Store.cancel_all`."""
    moved = []
    for task_id in task_ids:
        state = _seen(connection, task_id, caller)
        if state is not None and state in states and may_move(state, State.CANCELING):
            _cancel(connection, task_id, state, time)
            moved.append(task_id)
    return moved


def _seen(connection: sqlite3.Connection, task_id: str, caller: Caller) -> State | None:
    row = connection.execute("SELECT owner, state FROM task WHERE id = ?", (task_id,)).fetchone()
    return STATES[row[1]] if row is not None and caller.may_see(row[0]) else None


def _cancel(connection: sqlite3.Connection, task_id: str, state: State, time: float) -> State:
    _step(connection, task_id, state, State.CANCELING, time)
    if state is not State.QUEUED:
        return State.CANCELING
    _step(connection, task_id, State.CANCELING, State.CANCELED, time)
    return State.CANCELED


def _step(connection: sqlite3.Connection, task_id: str, old: State, new: State, time: float) -> None:
    """Move a task, with its event. The caller has seen that it is in `old` and may move."""
    ended = time if new in TERMINAL else None
    owner, sequence, attempts, lane = connection.execute(
        "UPDATE task SET state = ?, sequence = sequence + 1, revision = revision + 1, ended = ?, "
        "claim = CASE WHEN ? IS NULL THEN claim END WHERE id = ? RETURNING owner, sequence, attempts, lane",
        (new.value, ended, ended, task_id),
    ).fetchone()
    _tell(connection, lane, (task_id, owner, sequence, old.value, new.value, attempts, time))


def _tell(
    connection: sqlite3.Connection, lane: str | None, *events: tuple[str, str, int, str, str, int, float]
) -> None:
    """Write events, and for a task with a lane that they are to be told."""
    insert(connection, "event (id, owner, sequence, previous, state, attempt, time)", "(?, ?, ?, ?, ?, ?, ?)", events)
    if lane is None:
        return
    insert(
        connection,
        "delivery (id, sequence, previous, state, attempt, time)",
        "(?, ?, ?, ?, ?, ?)",
        [(task_id, *rest) for task_id, _, *rest in events],
    )
    task_id, time = events[0][0], events[0][-1]
    connection.execute(
        "UPDATE callback SET open = open + ?, due = coalesce(due, ?), since = coalesce(since, ?) WHERE id = ?",
        (len(events), time, time, task_id),
    )


def begin(connection: sqlite3.Connection, lease: Lease, task_id: str, time: float) -> Claimed | None:
    """Claim a QUEUED task with a new attempt. See `Store.begin`."""
    begun = connection.execute(
        "UPDATE task SET state = 'INITIALIZING', sequence = sequence + 1, revision = revision + 1, attempts = attempts + 1, "
        "claim = ?, due = 0 WHERE id = ? AND state = 'QUEUED' "
        "RETURNING owner, sequence, lane, attempts, failures, cpu_cores, ram_bytes, disk_bytes",
        (lease.id, task_id),
    ).fetchone()
    if begun is None:
        return None
    owner, sequence, lane, attempts, *asked = begun
    _tell(connection, lane, (task_id, owner, sequence, "QUEUED", "INITIALIZING", attempts, time))
    connection.execute(
        "INSERT INTO attempt (id, number, place, started, start_time, notes) VALUES (?, ?, ?, ?, ?, '')",
        (task_id, attempts, lease.place, time, shape.time_text(time)),
    )
    body = connection.execute("SELECT body, extension FROM body WHERE id = ?", (task_id,)).fetchone()
    return shape.claimed((task_id, owner, "INITIALIZING", attempts, *asked, lease.place, time, *body, None))


def refuse(connection: sqlite3.Connection, task_id: str, note: str, time: float) -> bool:
    """End a QUEUED task as SYSTEM_ERROR. See `Store.refuse`."""
    if connection.execute("SELECT 1 FROM task WHERE id = ? AND state = 'QUEUED'", (task_id,)).fetchone() is None:
        return False
    # Into the newest TaskLog, which begins with it where the task was never started.
    connection.execute(
        "INSERT INTO attempt (id, number, place, notes) SELECT id, max(attempts, 1), '', ? FROM task WHERE id = ? "
        "ON CONFLICT (id, number) DO UPDATE SET notes = CASE notes WHEN '' THEN '' ELSE notes || ',' END || excluded.notes",
        (shape.notes_json((note,)), task_id),
    )
    _step(connection, task_id, State.QUEUED, State.SYSTEM_ERROR, time)
    return True


def adopt(connection: sqlite3.Connection, lease: Lease, living: str, task_id: str) -> bool:
    """Take over a task whose claim no living lease (ids as a JSON array) holds. See `Store.adopt`."""
    return (
        connection.execute(
            "UPDATE task SET claim = ? WHERE id = ? AND claim IS NOT NULL "
            "AND claim NOT IN (SELECT value FROM json_each(?))",
            (lease.id, task_id, living),
        ).rowcount
        == 1
    )


def move(connection: sqlite3.Connection, lease: Lease, move: Move) -> bool:
    """Make a move with its results and event. See `Store.move`."""
    if not is_legal(move):
        return False
    guard = (move.task_id, move.old.value, move.attempt, lease.id)
    if move.old is move.new:
        held = connection.execute(
            "UPDATE task SET revision = revision + 1 WHERE id = ? AND state = ? AND attempts = ? AND claim = ?", guard
        ).rowcount
        if not held:
            return False
    else:
        ended = move.time if move.new in TERMINAL else None
        moved = connection.execute(
            "UPDATE task SET state = ?, sequence = sequence + ?, revision = revision + 1, ended = ?, due = ?, "
            "failures = failures + ?, claim = CASE WHEN ? THEN claim END "
            "WHERE id = ? AND state = ? AND attempts = ? AND claim = ? RETURNING owner, sequence, lane",
            (
                move.new.value,
                1 if move.via is None else 2,
                ended,
                move.due if move.new is State.QUEUED else 0.0,
                int(move.counts and move.new is State.QUEUED),
                ended is None and move.new is not State.QUEUED,
                *guard,
            ),
        ).fetchone()
        if moved is None:
            return False
        owner, sequence, lane = moved
        states = (move.old, move.new) if move.via is None else (move.old, move.via, move.new)
        _tell(
            connection,
            lane,
            *(
                (move.task_id, owner, sequence + 2 - len(states) + n, old.value, new.value, move.attempt, move.time)
                for n, (old, new) in enumerate(pairwise(states))
            ),
        )
    _write_results(connection, move.task_id, move.attempt, move.results)
    return True


def _write_results(connection: sqlite3.Connection, task_id: str, attempt: int, results: Results) -> None:
    notes = shape.notes_json(results.notes) if results.notes else None
    log = (
        shape.metadata_json(results),
        shape.time_text(results.start_time),
        shape.time_text(results.end_time),
        shape.outputs_json(results),
    )
    if notes is not None or log != (None, None, None, None):
        connection.execute(
            "UPDATE attempt SET metadata = coalesce(?, metadata), start_time = coalesce(?, start_time), "
            "end_time = coalesce(?, end_time), outputs = coalesce(?, outputs), "
            "notes = notes || CASE WHEN ? IS NULL THEN '' WHEN notes = '' THEN ? ELSE ',' || ? END "
            "WHERE id = ? AND number = ?",
            (*log, notes, notes, notes, task_id, attempt),
        )
    if results.executor_logs is not None:
        connection.execute("DELETE FROM executor_log WHERE id = ? AND number = ?", (task_id, attempt))
        rows = [
            (task_id, attempt, executor, *shape.executor_row(one)) for executor, one in enumerate(results.executor_logs)
        ]
        insert(connection, "executor_log (id, number, executor, log, stdout, stderr)", "(?, ?, ?, ?, ?, ?)", rows)
    if results.body is not None:
        connection.execute("UPDATE body SET body = ? WHERE id = ?", (results.body, task_id))


def add_lease(
    connection: sqlite3.Connection, *, place: str, name: str, time: float, room: Room, alone: bool
) -> tuple[int, list[int]]:
    """Record a new lease; return its id, and those of its place that it ends where it is to be `alone` there. Old ones that no task remembers go."""
    connection.execute(
        "DELETE FROM lease WHERE ended IS NOT NULL AND id NOT IN (SELECT claim FROM task WHERE claim IS NOT NULL)"
    )
    ended = connection.execute(
        "UPDATE lease SET ended = ? WHERE ? AND place = ? AND place <> '' AND ended IS NULL RETURNING id",
        (time, alone, place),
    ).fetchall()
    (lease_id,) = connection.execute(
        "INSERT INTO lease (place, name, cpu_cores, ram_bytes, disk_bytes, gpus) "
        "VALUES (:place, :name, :cpu_cores, :ram_bytes, :disk_bytes, :gpus) RETURNING id",
        {"place": place, "name": name, **shape.room_parameters(room)},
    ).fetchone()
    return lease_id, [row[0] for row in ended]


def end_lease(connection: sqlite3.Connection, lease_id: int, time: float) -> None:
    """Record when a lease ended."""
    connection.execute("UPDATE lease SET ended = ? WHERE id = ? AND ended IS NULL", (time, lease_id))
