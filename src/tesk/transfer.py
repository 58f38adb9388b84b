"""What a stager is told and what it says back. Plain values that travel as JSON between programs.

Paths are the task's own absolute paths; the stager is given, apart, the host folder that stands for the task's `/`
(`/data/x` lies at `<root>/data/x`). No credentials travel here: the stager has its own `StorageSettings`.
"""

from pathlib import Path
from typing import Protocol

from msgspec import Struct

from tesk.tes.task import FileType


class Fetch(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input: `content` (UTF-8) wins over `url`. `type` None: find out."""

    index: int
    path: str
    url: str | None = None
    content: str | None = None
    type: FileType | None = None


class Deliver(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One output. `path` may hold POSIX wildcards, then `path_prefix` is set. `type` None: find out."""

    index: int
    path: str
    url: str
    path_prefix: str | None = None
    type: FileType | None = None


class TransferList(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a stager does for one attempt, in one direction or the other. `caller` decides which roots and credentials count."""

    caller: str
    inputs: tuple[Fetch, ...] = ()
    outputs: tuple[Deliver, ...] = ()


class Moved(Struct, frozen=True, kw_only=True):
    """One file that arrived: an output at `url`, or an input at `path`."""

    index: int
    url: str
    path: str
    size_bytes: int


class TransferReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done. `types` says, by index, what an entry without a type turned out to be.

    `warnings` are sentences for `system_logs` (a pattern that matched nothing). `error` is the sentence that names what
    failed, the URL without credentials and what would help; None when all is well. `retry` says whether another attempt
    might do better. What arrived before an error is listed all the same.
    """

    files: tuple[Moved, ...] = ()
    types: dict[int, FileType] = {}
    warnings: tuple[str, ...] = ()
    error: str | None = None
    retry: bool = False
    size_bytes: int = 0
    seconds: float = 0.0


class Stager(Protocol):
    """Moves one attempt's data on this host. A backend that stages here is given one. Canceling the call stops it.

    `root` is the host folder that stands for the task's `/`; `owner` the (uid, gid) that must own what arrives (None: the
    server's own).
    """

    async def fetch(self, transfers: TransferList, root: Path, owner: tuple[int, int] | None) -> TransferReport:
        """Bring all `inputs` in. Never raises for what is wrong with the data: the report says it."""

    async def deliver(self, transfers: TransferList, root: Path) -> TransferReport:
        """Take all `outputs` out, as far as they exist; `files` in the report are sorted by path."""
