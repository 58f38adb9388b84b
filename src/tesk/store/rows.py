"""The values that go into the store and come out of it."""

from math import inf
from string import digits
from typing import NewType

from msgspec import Struct

from tesk.tes.ids import LENGTH
from tesk.tes.logs import ExecutorLog, OutputFileLog
from tesk.tes.state import State, may_move
from tesk.tes.task import Extension, Task

Mark = NewType("Mark", str)
"""A task at one revision: its id, revision and state. While a task's mark stays, nothing that a view shows has changed."""


STATES = {state.value: state for state in State}


class Callback(Struct, frozen=True, kw_only=True):
    """Where a task's moves are to be told, and by which lane: see `outbox.Due`."""

    url: str
    lane: str


class NewTask(Struct, frozen=True, kw_only=True):
    """A validated task that is to be stored. `body` is its canonical JSON: an object, without what the server adds.

    `cpu_cores`, `ram_bytes`, `disk_bytes` have the defaults applied. `idempotency_key` with `body_hash` (of the bytes
    that the client sent) make a second submission within a day return the first one's id.
    """

    id: str
    owner: str
    name: str
    body: bytes
    extension: Extension
    tags: dict[str, str]
    cpu_cores: float
    ram_bytes: int
    disk_bytes: int
    created: float
    gpus: int = 0
    idempotency_key: str | None = None
    body_hash: bytes = b""
    callback: Callback | None = None


class Created(Struct, frozen=True, kw_only=True):
    """The id under which a submission is stored durably; `repeated` where an earlier one had the same key and body."""

    id: str
    repeated: bool


class StoredExecutorLog(Struct, frozen=True, kw_only=True):
    """One `tesExecutorLog` as JSON without its streams, and the streams as JSON strings (None: not asked for, or not there)."""

    log: bytes
    stdout: bytes | None
    stderr: bytes | None


class StoredAttempt(Struct, frozen=True, kw_only=True):
    """One `tesTaskLog` as JSON without `logs` and `system_logs`, and these apart."""

    number: int
    log: bytes
    system_logs: bytes
    executors: tuple[StoredExecutorLog, ...]


class Labels(Struct, frozen=True, kw_only=True):
    """What people call a task."""

    name: str = ""
    tags: dict[str, str] = {}


class StoredTask(Struct, frozen=True, kw_only=True):
    """One task as it stands. Of what has a default here, as much is filled as the view asked for.

    Cores and bytes are those that count for the task, with the defaults of the day when it was stored.
    """

    id: str
    owner: str
    state: State
    created: float
    revision: int
    cpu_cores: float = 0.0
    ram_bytes: int = 0
    disk_bytes: int = 0
    body: bytes = b""
    extension: Extension = Extension()
    attempts: tuple[StoredAttempt, ...] = ()

    @property
    def mark(self) -> Mark:
        return Mark(f"{self.id}{self.revision}{self.state}")


class ListQuery(Struct, frozen=True, kw_only=True):
    """Which tasks, newest first. `owner` None: everybody's. A tag value of None matches any. `before` is the id that ended the last page."""

    owner: str | None
    state: State | None = None
    name_prefix: str = ""
    tags: tuple[tuple[str, str | None], ...] = ()
    page_size: int = 256
    before: str | None = None


class Page(Struct, frozen=True, kw_only=True):
    """One page. `next_before` is None on the last one; a page may be short, even empty, and yet not be the last."""

    marks: tuple[Mark, ...]
    next_before: str | None


class Lease(Struct, frozen=True, kw_only=True):
    """A server's right to act on the tasks that it claimed. `id` is new with each lease, so a late word is known by it."""

    id: int
    place: str
    expires: float


class Room(Struct, frozen=True, kw_only=True, order=True):
    """How much a server can hold in all. Cores, bytes, GPUs."""

    cpu_cores: float
    ram_bytes: int
    disk_bytes: int
    gpus: int = 0


ENDLESS = Room(cpu_cores=inf, ram_bytes=2**63 - 1, disk_bytes=2**63 - 1, gpus=2**31 - 1)
"""Of a server that queues by itself: it takes whatever comes."""


class Waiting(Struct, frozen=True, kw_only=True):
    """A task in QUEUED that may start now, with what it asks for."""

    id: str
    attempts: int
    cpu_cores: float
    ram_bytes: int
    disk_bytes: int
    gpus: int = 0


class Claimed(Struct, frozen=True, kw_only=True):
    """A task with an attempt on a backend: what the controller reconciles.

    `attempt` counts from 1; `failures` are the attempts lost that count; `place` is where the backend of the attempt was.
    `started` is in seconds since the epoch. `unheld_seconds`: how long ago, by the clock of the database, the lease
    ended that held the claim (None: this server holds it).
    """

    id: str
    owner: str
    state: State
    attempt: int
    failures: int
    place: str
    started: float
    unheld_seconds: float | None
    task: Task
    extension: Extension
    cpu_cores: float
    ram_bytes: int
    disk_bytes: int


class Results(Struct, frozen=True, kw_only=True):
    """What a move writes into the TaskLog of the current attempt. None and empty leave things as they are; notes are appended."""

    notes: tuple[str, ...] = ()
    metadata: dict[str, str] | None = None
    start_time: float | None = None
    end_time: float | None = None
    executor_logs: tuple[ExecutorLog, ...] | None = None
    output_logs: tuple[OutputFileLog, ...] | None = None
    body: bytes | None = None
    """The task's body anew, where the run showed the type of an input or output."""


class Move(Struct, frozen=True, kw_only=True):
    """From `old` to `new`, if the task is still in `old`, at this attempt, and claimed by this lease.

    To QUEUED: the claim is given up, the task is due again at `due`, and `counts` says whether the attempt counts as a failure.
    With `via` there are two moves, of which nobody sees one without the other: to that state, and at once to `new`.
    """

    task_id: str
    attempt: int
    old: State
    new: State
    time: float
    via: State | None = None
    results: Results = Results()
    due: float = 0.0
    counts: bool = False


def is_legal(move: Move) -> bool:
    """Say whether a task may move so."""
    if move.via is None:
        return move.old is move.new or may_move(move.old, move.new)
    return may_move(move.old, move.via) and may_move(move.via, move.new)


class PruneCounts(Struct, frozen=True, kw_only=True):
    """How much was removed."""

    tasks: int
    events: int


def task_of(mark: Mark) -> str:
    """Return the id of the task."""
    return mark[:LENGTH]


def state_of(mark: Mark) -> State:
    """Return the state that the task was in."""
    return STATES[state_text(mark)]


def state_text(mark: Mark) -> str:
    """Return the same as it is stored."""
    return mark[LENGTH:].lstrip(digits)
