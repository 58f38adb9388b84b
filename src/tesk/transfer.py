"""What a stager is told and what it says back. Plain values that travel as JSON between programs.

Paths are the task's own absolute paths; the stager is given, apart, the host folder that stands for the task's `/`
(`/data/x` lies at `<root>/data/x`). No credentials travel here: the stager has its own `StorageSettings`.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

from tesk.tes.amounts import amount
from tesk.tes.task import FileType

Direction = Literal["inputs", "outputs"]


class Fetch(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input: `content` (UTF-8) wins over `url`. `type` None: find out. `streamable`: it may come as a named pipe."""

    index: int
    path: str
    url: str | None = None
    content: str | None = None
    type: FileType | None = None
    streamable: bool = False

    @property
    def far(self) -> bool:
        """Say whether it comes from its URL, not from the task itself."""
        return not self.content and (self.content is None or self.url is not None)


class Deliver(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One output. `path` may hold POSIX wildcards, then `path_prefix` is set. `type` None: find out."""

    index: int
    path: str
    url: str
    path_prefix: str | None = None
    type: FileType | None = None

    @property
    def in_bucket(self) -> bool:
        """Say whether it goes into a bucket that nobody makes: it is looked for before the executors run."""
        return self.url[:3].lower() == "s3:"


class TransferList(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a stager does for one attempt, in one direction or the other. `caller` decides which roots and credentials count.

    `pipes` are the streamable inputs, by index, for which their backend will have named pipes served. `anybody`: executors
    may be any user, so all may read what arrives, whatever its source allows; who cannot come to its folder still cannot.
    """

    caller: str
    inputs: tuple[Fetch, ...] = ()
    outputs: tuple[Deliver, ...] = ()
    pipes: tuple[int, ...] = ()
    anybody: bool = False

    @property
    def comes_first(self) -> bool:
        """Say whether there is anything to do before the executors: inputs, or places of outputs to look at."""
        return bool(self.inputs) or any(output.in_bucket for output in self.outputs)


class Moved(Struct, frozen=True, kw_only=True):
    """One file that arrived: an output at `url`, or an input at `path`."""

    index: int
    url: str
    path: str
    size_bytes: int


class Progress(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="tesk", tag="progress/1"):
    """How far a transfer is, as its stager says it, at most once a second.

    `size_bytes` is the size of all together, None as long as a source has not said the size of its file. What is moved
    again after a broken line counts once. `bytes_per_second` is that of the last few seconds. `trouble`: what went wrong
    a moment ago and is tried again, a sentence that names the URL without its secrets.
    """

    direction: Direction
    files: int
    files_done: int = 0
    size_bytes: int | None = None
    size_bytes_done: int = 0
    bytes_per_second: float = 0.0
    seconds: float = 0.0
    trouble: str | None = None


Told = Callable[[Progress], None]


class TransferReport(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="tesk", tag="report/1"):
    """What was done. `types` says, by index, what an entry without a type turned out to be.

    `warnings` are sentences for `system_logs` (a pattern that matched nothing). `error` is the sentence that names what
    failed, the URL without credentials and what would help; None when all is well. `retry` says whether another attempt
    might do better. What arrived before an error is listed all the same. `pipes` are the inputs, by index, that are named
    pipes now and are to be served (`Stager.feed`).
    """

    files: tuple[Moved, ...] = ()
    types: dict[int, FileType] = {}
    warnings: tuple[str, ...] = ()
    error: str | None = None
    retry: bool = False
    size_bytes: int = 0
    seconds: float = 0.0
    pipes: tuple[int, ...] = ()


def summary(direction: Direction, report: TransferReport, *, read: bool = False) -> str | None:
    """Return the sentence for `system_logs` on what a transfer moved, None where it moved nothing from or to anywhere.

    What stood in the task itself (`content`) came from nowhere. `read`: it went through named pipes.
    """
    sizes = [file.size_bytes for file in report.files if file.url]
    if not sizes:
        return None
    files = f"{len(sizes)} file{'s' * (len(sizes) > 1)}"
    seconds = report.seconds
    took = f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
    return f"{direction}: {files}, {amount(sum(sizes))} in {took}{', as they were read' if read else ''}"


def unheard(progress: Progress) -> None:
    """Nobody wants to know."""


class Stager(Protocol):
    """Moves one attempt's data on this host. A backend that stages here is given one. Canceling the call stops it.

    `root` is the host folder that stands for the task's `/`; `owner` the (uid, gid) that must own what arrives (None: the
    server's own). `told` hears how far it is, unless it is over in a moment.
    """

    async def fetch(
        self, transfers: TransferList, root: Path, owner: tuple[int, int] | None, told: Told = unheard
    ) -> TransferReport:
        """Bring all `inputs` in, when the buckets of `outputs` are there. Never raises for what is wrong with the data: the report says it."""

    async def deliver(self, transfers: TransferList, root: Path, told: Told = unheard) -> TransferReport:
        """Take all `outputs` out, as far as they exist; `files` in the report are sorted by path."""

    async def feed(
        self,
        transfers: TransferList,
        root: Path,
        owner: tuple[int, int] | None,
        *,
        over: Awaitable[object],
        broken: Callable[[TransferReport], None],
        told: Told = unheard,
    ) -> TransferReport:
        """Serve the named pipes that `fetch` made of the inputs `pipes`, from the start to each who opens one, until `over`.

        `broken` hears at once when a source fails in the middle: its reader then waits until `over`, so that none takes a
        part for the whole, and is best killed. `files` in the report are what was read, `error` what broke.
        """
