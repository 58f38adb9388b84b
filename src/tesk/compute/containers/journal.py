"""What was done of an attempt, as it stands in its folder: another server goes on from there. No clock, no engine.

A crash of the machine is no matter: containers end with it. So nothing waits for the disk.
"""

import contextlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tesk.compute.backend import Phase
from tesk.compute.containers.container import Ended
from tesk.compute.containers.engine import Image
from tesk.compute.machine.refused import refused
from tesk.compute.machine.size import gigabytes
from tesk.compute.machine.streams import Written
from tesk.compute.plan import Plan, Step
from tesk.tes.logs import ExecutorLog, OutputFileLog
from tesk.tes.task import FileType
from tesk.tes.times import rfc3339


class Journal(Struct, frozen=True, kw_only=True):
    """All that is true of an attempt up to now; what `Observation` shows is among it.

    `step` is the executor that is next or runs, -1 before inputs and images are there; `began`: it was started, perhaps.
    `failed`: an executor was, so no other follows. `pipes`: the inputs, by index, that are served to executors as they
    run, until it is known that each got what it read.
    """

    plan: Plan
    phase: Phase
    since: float
    step: int = -1
    began: bool = False
    failed: bool = False
    images: dict[str, Image] = {}
    devices: tuple[str, ...] = ()
    pipes: tuple[int, ...] = ()
    reason: str | None = None
    final: bool = False
    ours: bool = False
    notes: tuple[str, ...] = ()
    logs: tuple[ExecutorLog, ...] = ()
    outputs: tuple[OutputFileLog, ...] = ()
    metadata: dict[str, str] = {}
    input_types: dict[int, FileType] = {}
    output_types: dict[int, FileType] = {}


def with_end(journal: Journal, step: Step, ended: Ended, stdout: Written, stderr: Written) -> Journal:
    """Return the journal after the end of an executor that ran."""
    metadata, notes = dict(journal.metadata), [*journal.notes]
    for stream, written in (("stdout", stdout), ("stderr", stderr)):
        if written.cut:
            metadata[f"executors.{step.index}.{stream}_size_bytes"] = str(written.size_bytes)
            notes.append(
                f"executors[{step.index}]: of the {written.size_bytes} bytes of {stream} only the end is in its log."
            )
    if ended.refused:
        notes.append(refused(step.index, step.command[0], ended.exit_code, f"in image {step.image}"))
    if ended.out_of_memory:
        notes.append(f"executors[{step.index}]: out of memory (limit {gigabytes(journal.plan.ram_bytes)}).")
    log = ExecutorLog(
        start_time=rfc3339(ended.start_time),
        end_time=rfc3339(max(ended.start_time, ended.end_time)),
        stdout=stdout.text(),
        stderr=stderr.text(),
        exit_code=ended.exit_code,
    )
    return replace(
        journal,
        step=step.index + 1,
        began=False,
        failed=ended.exit_code != 0 and not step.ignore_error,
        logs=(*journal.logs, log),
        metadata=metadata,
        notes=tuple(notes),
    )


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
