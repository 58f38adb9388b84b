"""What was done of an attempt, as it stands in its folder: another server goes on from there. No clock, no engine.

A crash of the machine is no matter: containers end with it. So nothing waits for the disk.
"""

import contextlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from tesk.compute.backend import Phase
from tesk.compute.containers.engine import Image
from tesk.compute.plan import Plan
from tesk.tes.logs import ExecutorLog, OutputFileLog
from tesk.tes.task import FileType


class Journal(Struct, frozen=True, kw_only=True):
    """All that is true of an attempt up to now; what `Observation` shows is among it.

    `step` is the executor that is next or runs, -1 before inputs and images are there; `began`: it was started, perhaps.
    `failed`: an executor was, so no other follows. `sizes`: what executors wrote to stdout and stderr, in bytes.
    """

    plan: Plan
    phase: Phase
    since: float
    step: int = -1
    began: bool = False
    failed: bool = False
    images: dict[str, Image] = {}
    devices: tuple[str, ...] = ()
    reason: str | None = None
    final: bool = False
    ours: bool = False
    notes: tuple[str, ...] = ()
    logs: tuple[ExecutorLog, ...] = ()
    outputs: tuple[OutputFileLog, ...] = ()
    metadata: dict[str, str] = {}
    input_types: dict[int, FileType] = {}
    output_types: dict[int, FileType] = {}


def write(folder: Path, journal: Journal) -> None:
    """Put a journal in the place of the one before, at once."""
    written = folder / "journal.new"
    fd = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.encode(journal))
    written.rename(folder / "journal")


def read(folder: Path) -> Journal | None:
    """Return the journal in a folder, None where there is none, or none that this server understands."""
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode((folder / "journal").read_bytes(), type=Journal)
    return None
