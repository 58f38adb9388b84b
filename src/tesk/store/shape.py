"""Between rows of SQL and the values of the store: what both databases write and read. Pure.

JSON is put together from stored pieces, never parsed on the way out.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec
from msgspec.structs import asdict

from tesk.store.rows import (
    ENDLESS,
    STATES,
    Claimed,
    Labels,
    ListQuery,
    Mark,
    NewTask,
    Page,
    Results,
    Room,
    StoredAttempt,
    StoredExecutorLog,
    StoredTask,
    Waiting,
    task_of,
)
from tesk.store.sql import Value
from tesk.tes.event import Event
from tesk.tes.logs import ExecutorLog
from tesk.tes.task import Extension, Task
from tesk.tes.times import rfc3339

Row = Sequence[Any]
"""A row as the driver made it; the functions below say what is in which place."""

_PLAIN = Extension()
_encode = msgspec.json.Encoder().encode
_task = msgspec.json.Decoder(Task).decode
_labels = msgspec.json.Decoder(Labels).decode
_extension = msgspec.json.Decoder(Extension).decode

NO_ATTEMPT = StoredAttempt(number=1, log=b'{"outputs":[]}', system_logs=b"[]", executors=())
"""The TaskLog of a task that was never started: there is one from the first moment."""


# -- in -----------------------------------------------------------------------------------------------------------------


def searchable(name: str) -> str:
    """Return a task's name, or a prefix of one, as lists compare it: PostgreSQL cannot hold a NUL in text."""
    return name.replace("\0", "\N{REPLACEMENT CHARACTER}")


def extension_json(new: NewTask) -> bytes | None:
    """Return what is stored of the extension: nothing where there is nothing in it."""
    return None if new.extension == _PLAIN else _encode(new.extension)


def notes_json(notes: Sequence[str]) -> str:
    """Return sentences as JSON strings with commas between."""
    return ",".join(_encode(note).decode() for note in notes)


def metadata_json(results: Results) -> bytes | None:
    """Return the metadata of a TaskLog, None where they stay."""
    return None if results.metadata is None else _encode(results.metadata)


def outputs_json(results: Results) -> bytes | None:
    """Return the outputs of a TaskLog, None where they stay."""
    return None if results.output_logs is None else _encode(results.output_logs)


def time_text(seconds: float | None) -> str | None:
    """Return a time as a TaskLog shows it, None where it stays."""
    return None if seconds is None else rfc3339(seconds)


def executor_row(log: ExecutorLog) -> tuple[bytes, bytes | None, bytes | None]:
    """Return one ExecutorLog as JSON without its streams, and these as JSON strings."""
    plain = {"start_time": log.start_time, "end_time": log.end_time, "exit_code": log.exit_code}
    return (
        _encode({key: value for key, value in plain.items() if value is not None}),
        None if log.stdout is None else _encode(log.stdout),
        None if log.stderr is None else _encode(log.stderr),
    )


# -- out ----------------------------------------------------------------------------------------------------------------


def minimal(rows: Iterable[Row]) -> list[StoredTask]:
    """Make tasks of what `reads.HEAD` selects."""
    return [StoredTask(id=row[0], owner=row[1], state=STATES[row[2]], created=row[3], revision=row[4]) for row in rows]


def detailed(rows: Iterable[Row]) -> list[StoredTask]:
    """Make tasks, newest first, of one row for each executor log, as `reads.details` selects them, in any order."""
    heads: dict[str, Row] = {}
    bodies: dict[str, Row] = {}
    attempts: dict[str, dict[int, Row]] = {}
    executors: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        task_id, number, executor = row[0], row[7], row[13]
        heads[task_id] = row
        if row[5] is not None:
            bodies[task_id] = row
        if number is not None:
            attempts.setdefault(task_id, {})[number] = row
            if executor is not None:
                executors.setdefault((task_id, number), []).append(row)
    return [
        StoredTask(
            id=task_id,
            owner=row[1],
            state=STATES[row[2]],
            created=row[3],
            revision=row[4],
            cpu_cores=row[17],
            ram_bytes=row[18],
            disk_bytes=row[19],
            body=bodies[task_id][5],
            extension=_PLAIN if (kept := bodies[task_id][6]) is None else _extension(kept),
            attempts=tuple(
                _attempt(attempt, executors.get((task_id, number), []))
                for number, attempt in sorted(attempts[task_id].items())
            )
            if task_id in attempts
            else (NO_ATTEMPT,),
        )
        for task_id, row in sorted(heads.items(), reverse=True)
    ]


def page(gathered: str | None, query: ListQuery, end: str | None) -> Page:
    """Make a page of what `reads.page` selected. `end` is the lowest id that was looked at, None where it was all."""
    # No database promises the order in which it gathers.
    marks = cast("list[Mark]", sorted(gathered.split(","), reverse=True)) if gathered else []
    if len(marks) > query.page_size:
        del marks[query.page_size :]
        end = task_of(marks[-1])
    return Page(marks=tuple(marks), next_before=end)


def _attempt(row: Row, executors: list[Row]) -> StoredAttempt:
    number, start_time, end_time, metadata, outputs, notes = row[7:13]
    return StoredAttempt(
        number=number,
        log=b"".join(
            (
                b"{",
                b"" if metadata is None else b'"metadata":%b,' % metadata,
                b"" if start_time is None else b'"start_time":"%b",' % start_time.encode(),
                b"" if end_time is None else b'"end_time":"%b",' % end_time.encode(),
                b'"outputs":%b}' % (outputs or b"[]"),
            )
        ),
        system_logs=b"[%b]" % (notes or "").encode(),
        executors=tuple(
            StoredExecutorLog(log=log, stdout=stdout, stderr=stderr)
            for _, log, stdout, stderr in sorted(tuple(executor[13:17]) for executor in executors)
        ),
    )


def event(row: Row) -> Event:
    """Make an event of (position, id, owner, sequence, previous, state, attempt, time)."""
    position, task_id, owner, sequence, previous, state, attempt, time = row
    return Event(
        position=position,
        task_id=task_id,
        owner=owner,
        sequence=sequence,
        previous_state=None if previous is None else STATES[previous],
        state=STATES[state],
        attempt=attempt,
        time=time,
    )


def labels(body: bytes) -> Labels:
    """Make the labels of a task of its body."""
    return _labels(body)


def room_parameters(room: Room) -> dict[str, Value]:
    """Return what is stored of a room: nothing where it has no end."""
    return dict.fromkeys(asdict(room)) if room == ENDLESS else asdict(room)


def rooms(rows: Iterable[Row]) -> list[Room]:
    """Make rooms of (cpu_cores, ram_bytes, disk_bytes, gpus), each once, in order."""
    return sorted(
        {
            ENDLESS if None in row else Room(cpu_cores=row[0], ram_bytes=row[1], disk_bytes=row[2], gpus=row[3])
            for row in map(tuple, rows)
        }
    )


def waiting(row: Row) -> Waiting:
    """Make a waiting task of what `reads.WAITING` selects."""
    return Waiting(id=row[0], attempts=row[1], cpu_cores=row[2], ram_bytes=row[3], disk_bytes=row[4], gpus=row[5])


def claimed(row: Row) -> Claimed:
    """Make a claimed task of what `reads.CLAIMED` selects."""
    return Claimed(
        id=row[0],
        owner=row[1],
        state=STATES[row[2]],
        attempt=row[3],
        failures=row[4],
        cpu_cores=row[5],
        ram_bytes=row[6],
        disk_bytes=row[7],
        place=row[8],
        started=row[9],
        task=_task(row[10]),
        extension=_PLAIN if row[11] is None else _extension(row[11]),
        unheld_seconds=row[12],
    )
