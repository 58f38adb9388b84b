"""The seam to a place where tasks run: what it is asked, what it shows."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from msgspec import Struct

from tesk.compute.plan import Plan
from tesk.tes.logs import ExecutorLog, OutputFileLog
from tesk.tes.task import FileType
from tesk.transfer import Progress

Stream = Literal["stdout", "stderr", "combined"]
"""`combined`: both, in the order in which they came, as far as that is known."""
Separate = Literal["stdout", "stderr"]
SEPARATE: tuple[Separate, ...] = ("stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of what an executor wrote to one stream. `start`: how many bytes of the stream came before it.

    Without `data` it is the stream's end: no more will come of it.
    """

    stream: Stream
    start: int
    data: bytes


@dataclass(frozen=True, slots=True, order=True)
class AttemptId:
    """One try at one task, counted from 1. A late word of a lost attempt carries its number and is not believed."""

    task_id: str
    number: int

    def __str__(self) -> str:
        return f"{self.task_id}-{self.number}"


def named(name: str) -> AttemptId | None:
    """Return the attempt that `name` is the name of, None where it is none's."""
    task_id, dash, number = name.rpartition("-")
    return AttemptId(task_id, int(number)) if dash and number.isdecimal() else None


class Phase(StrEnum):
    """How far an attempt is. A phase may be skipped, never gone back."""

    ABSENT = "ABSENT"
    """Nothing of it is there: never started, or emptied after its host or server went away."""
    WAITING = "WAITING"
    """Accepted, not yet working (a pod that is not scheduled)."""
    STAGING = "STAGING"
    RUNNING = "RUNNING"
    """The first executor may run."""
    UPLOADING = "UPLOADING"
    DONE = "DONE"
    EXECUTOR_FAILED = "EXECUTOR_FAILED"
    SYSTEM_FAILED = "SYSTEM_FAILED"
    """`reason` says why; `final` whether another attempt could do better."""
    PREEMPTED = "PREEMPTED"
    """Lost through no fault of the task: stopped, evicted, its node or server gone. Nothing of it runs any more."""

    @property
    def ended(self) -> bool:
        """Say whether nothing of the attempt runs any more, and nothing will."""
        return self in _ENDED


_ENDED = frozenset({Phase.ABSENT, Phase.DONE, Phase.EXECUTOR_FAILED, Phase.SYSTEM_FAILED, Phase.PREEMPTED})


class Observation(Struct, frozen=True, kw_only=True):
    """The whole truth about one attempt, now.

    `since`: when the phase began, seconds since the epoch. `reason`: a sentence for `system_logs`, with SYSTEM_FAILED
    and PREEMPTED always. `notes`: further sentences for `system_logs`, in order. `final`: a SYSTEM_FAILED that another
    attempt cannot mend. `ours`: a PREEMPTED by this server's own stop or crash, which does not count as an attempt.
    `incomplete`: its start broke off in the middle, and `start` is to be called again.
    `waiting`: why it does not run yet, as a person would want to know it at once; only before it runs.
    `input_types`/`output_types`: what entries without a type turned out to be, by position.
    """

    attempt: AttemptId
    phase: Phase
    since: float
    reason: str | None = None
    notes: tuple[str, ...] = ()
    waiting: str | None = None
    incomplete: bool = False
    final: bool = False
    ours: bool = False
    executor_logs: tuple[ExecutorLog, ...] = ()
    output_logs: tuple[OutputFileLog, ...] = ()
    metadata: dict[str, str] = {}
    input_types: dict[int, FileType] = {}
    output_types: dict[int, FileType] = {}


class Capacity(Struct, frozen=True, kw_only=True):
    """What a backend can hold in all, the attempts that run included. Cores, bytes, GPUs."""

    cpu_cores: float
    ram_bytes: int
    disk_bytes: int
    gpus: int = 0


class Backend(Protocol):
    """A place where tasks run. Every verb may be called again after a crash, in any order, and says the same."""

    name: str
    place: str
    """Which machine, boot and folder, or which cluster the attempts of this backend belong to. Kept with each attempt:
    only a server whose backend has the same place may act on it."""
    shared: bool
    """Whether several servers may be at work at the place; each on the attempts of the tasks that it holds."""

    async def open(self) -> None:
        """Get ready, or raise StartError with a sentence that says what helps."""

    async def close(self) -> None:
        """Let go of everything. Attempts that still run are killed where they cannot outlive the server."""

    def owns(self, place: str) -> bool:
        """Say whether attempts of `place` are this backend's to act on.

        That is its own place, the same before a reboot of the host, or that of another server whose attempts it can end.
        """

    def abandoned(self, place: str) -> bool:
        """Say whether attempts of `place` are ours to act on and no other server is at work there, which might only be slow."""

    async def start(self, attempt: AttemptId, plan: Plan) -> None:
        """Start an attempt; a second call changes nothing. Returns when the backend has it, not when it runs.

        Raises CannotRun (never here, and why) or BackendUnavailable (ask again later).
        """

    async def observe(self, attempt: AttemptId) -> Observation:
        """Look now, not in a cache. An attempt that a dead server left on this place is emptied first: PREEMPTED, `ours`."""

    async def progress(self, attempt: AttemptId) -> Progress | None:
        """Return the newest that its stager has said of data that moves now; None where none does, or not here.

        Asked when a person looks. Raises BackendUnavailable.
        """

    def waiting(self, attempt: AttemptId) -> str | None:
        """Say why an attempt does not run yet, as last seen; None where nothing holds it up, or nobody knows."""

    async def stop(self, attempt: AttemptId, grace_seconds: float) -> None:
        """Ask an attempt to end: TERM, the grace, then KILL of all. `observe` says when nothing runs (PREEMPTED)."""

    async def forget(self, attempt: AttemptId, place: str | None = None) -> None:
        """Its results are stored, or unwanted: kill what runs, remove folder, finalizer, objects. Twice is once.

        `place`: where the attempt is, if not here; one that this backend owns. Nothing can be started of it there later.
        Raises BackendUnavailable where another server is at work on it.
        """

    def existing(self) -> AsyncIterator[AttemptId]:
        """Yield every attempt that is there, known to the store or not."""

    def changes(self) -> AsyncIterator[AttemptId]:
        """Yield attempts that are worth another look, for ever. May repeat, may miss."""

    def tells_all(self) -> bool:
        """Say whether `changes` misses nothing now: then what it does not name shows what it showed before."""

    async def capacity(self) -> Capacity | None:
        """Return what there is in all, or None where the backend queues by itself."""

    def room(self) -> int | None:
        """Return how many more attempts may be started now, None where nothing but `capacity` bounds them."""

    def logs(self, attempt: AttemptId, executor: int, *, stream: Stream, follow: bool) -> AsyncIterator[Piece]:
        """Yield what an executor has written so far (its tail at least); with `follow`, on to its end.

        `combined` comes as pieces of stdout and of stderr where the two are known apart. Where a stream of its own is
        known only at the end, it is what is yielded then. Raises BackendUnavailable.
        """
