"""What of a task each view shows, as JSON put together from stored pieces; nothing is parsed that need not be."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec
from msgspec.structs import replace

from tesk.tes.state import State
from tesk.tes.task import Extension, Task, to_json
from tesk.tes.times import rfc3339


class View(StrEnum):
    """The parameter `view`."""

    MINIMAL = "MINIMAL"
    BASIC = "BASIC"
    FULL = "FULL"


class ExecutorPieces(Protocol):
    """One `tesExecutorLog` as JSON without its streams, and these as JSON strings."""

    @property
    def log(self) -> bytes: ...
    @property
    def stdout(self) -> bytes | None: ...
    @property
    def stderr(self) -> bytes | None: ...


class AttemptPieces(Protocol):
    """One `tesTaskLog` as JSON without `logs` and `system_logs`, and these apart."""

    @property
    def log(self) -> bytes: ...
    @property
    def system_logs(self) -> bytes: ...
    @property
    def executors(self) -> Sequence[ExecutorPieces]: ...


class TaskPieces(Protocol):
    """A task as it is stored; body and attempts are there where the view wants them."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> State: ...
    @property
    def created(self) -> float: ...
    @property
    def body(self) -> bytes: ...
    @property
    def extension(self) -> Extension: ...
    @property
    def attempts(self) -> Sequence[AttemptPieces]: ...


_decode = msgspec.json.Decoder(Task).decode
_encode = msgspec.json.Encoder().encode


def render(task: TaskPieces, view: View) -> bytes:
    """Return `tesTask` as JSON. The task was read with the same view."""
    if view is View.MINIMAL:
        return minimal(task.id, task.state)
    full = view is View.FULL
    return b'{"id":"%b","state":"%b","creation_time":"%b",%b,"logs":[%b]}' % (
        task.id.encode(),
        task.state.encode(),
        rfc3339(task.created).encode(),
        (task.body if full else _without_content(task.body))[1:-1],
        b",".join(
            [
                _full(attempt, () if number else task.extension.warnings) if full else _basic(attempt)
                for number, attempt in enumerate(task.attempts)
            ]
        ),
    )


def minimal(task_id: str, state: str) -> bytes:
    """Return `tesTask` with nothing but what is always there."""
    return f'{{"id":"{task_id}","state":"{state}"}}'.encode()


def _without_content(body: bytes) -> bytes:
    if b'"content":' not in body:
        return body
    task = _decode(body)
    return to_json(replace(task, inputs=tuple(replace(entry, content=None) for entry in task.inputs or ())))


def _basic(attempt: AttemptPieces) -> bytes:
    return b'%b,"logs":[%b]}' % (attempt.log[:-1], b",".join([executor.log for executor in attempt.executors]))


def _full(attempt: AttemptPieces, warnings: tuple[str, ...]) -> bytes:
    system_logs = attempt.system_logs
    if warnings:
        rest = system_logs[1:]
        system_logs = b"%b%b%b" % (_encode(warnings)[:-1], b"" if rest == b"]" else b",", rest)
    return b'%b,"logs":[%b],"system_logs":%b}' % (
        attempt.log[:-1],
        b",".join([_with_streams(executor) for executor in attempt.executors]),
        system_logs,
    )


def _with_streams(executor: ExecutorPieces) -> bytes:
    log = executor.log[:-1]
    if executor.stdout is not None:
        log += b',"stdout":' + executor.stdout
    if executor.stderr is not None:
        log += b',"stderr":' + executor.stderr
    return log + b"}"
