"""What a TES server answers, as typed values. Lenient: what other servers leave out, send as null or add is no error."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

from tesk.client.answers import Document
from tesk.errors import StrangeAnswer
from tesk.tes.logs import TaskLog
from tesk.tes.state import TERMINAL, State
from tesk.tes.task import Executor, Input, Output, Resources

S = TypeVar("S", bound=Struct)


class ServedTask(Struct, frozen=True, kw_only=True):
    """`tesTask` as a server shows it; in the view MINIMAL only `id` and `state`. A state that TES has not is UNKNOWN."""

    id: str
    state: State = State.UNKNOWN
    name: str | None = None
    description: str | None = None
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    resources: Resources | None = None
    executors: tuple[Executor, ...] = ()
    volumes: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    logs: tuple[TaskLog, ...] = ()
    creation_time: str | None = None

    @property
    def ended(self) -> bool:
        """Say whether it will not change any more."""
        return self.state in TERMINAL

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last executor that started, in the last attempt; None where none did. Wants the view BASIC."""
        codes = [log.exit_code for log in self.logs[-1].logs] if self.logs else []
        return codes[-1] if codes else None


class TaskEvent(Struct, frozen=True, kw_only=True):
    """One move of a task, as a server that is TESK tells it. `position` is where to go on from, behind it.

    `sequence` counts the task's own moves from 1, without holes. A state that we do not know is UNKNOWN.
    """

    position: str
    id: str
    state: State
    previous_state: State | None = None
    sequence: int = 0
    attempt: int = 0
    time: str = ""

    @property
    def ended(self) -> bool:
        """Say whether it was the task's last."""
        return self.state in TERMINAL


class ServiceType(Struct, frozen=True, kw_only=True):
    """Which API, in which version."""

    group: str = ""
    artifact: str = ""
    version: str = ""


class ServiceInfo(Struct, frozen=True, kw_only=True):
    """`tesServiceInfo`, as far as clients decide by it."""

    id: str = ""
    name: str = ""
    type: ServiceType = ServiceType()
    description: str = ""
    version: str = ""
    storage: tuple[str, ...] = ()
    backend_parameters: tuple[str, ...] = msgspec.field(default=(), name="tesResources_backend_parameters")


def served_task(document: Document) -> ServedTask:
    """Return a task. Raises StrangeAnswer that names the field."""
    lenient = _given(document)
    if lenient.get("state") not in State.__members__:
        lenient["state"] = State.UNKNOWN
    return _typed(lenient, ServedTask)


def task_event(position: str, document: Document) -> TaskEvent:
    """Return a move. Raises StrangeAnswer that names the field."""
    lenient = _given(document) | {"position": position}
    for name in lenient.keys() & {"state", "previous_state"}:
        if lenient[name] not in State.__members__:
            lenient[name] = State.UNKNOWN
    return _typed(lenient, TaskEvent)


def service_info(document: Document) -> ServiceInfo:
    """Return what a service says of itself. Raises StrangeAnswer that names the field."""
    return _typed(_given(document), ServiceInfo)


def _typed(document: Document, kind: type[S]) -> S:
    try:
        return msgspec.convert(document, kind, strict=False)
    except msgspec.ValidationError as error:
        raise StrangeAnswer(f"an answer that is not TES: {error}") from error


def _given(document: Mapping[str, object]) -> Document:
    """Return an object without nulls; sizes, which some servers send as numbers, as the text that the spec asks for."""
    return {
        name: str(value) if name == "size_bytes" else _plain(value)
        for name, value in document.items()
        if value is not None
    }


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return _given(value)
    if isinstance(value, list):
        return [_plain(each) for each in value if each is not None]
    return value
