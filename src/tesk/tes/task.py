"""`tesTask` and what it is made of, as a client sends it. Field names and order are the spec's."""

from enum import StrEnum
from math import ceil

import msgspec
from msgspec import Struct
from msgspec.structs import replace


class FileType(StrEnum):
    """`tesFileType`."""

    FILE = "FILE"
    DIRECTORY = "DIRECTORY"


class Input(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`tesInput`: one file or directory brought in before the first executor runs."""

    name: str | None = None
    description: str | None = None
    url: str | None = None
    path: str
    type: FileType | None = None
    content: str | None = None
    streamable: bool | None = None


class Output(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`tesOutput`: one file, directory or pattern taken out after the last executor."""

    name: str | None = None
    description: str | None = None
    url: str
    path: str
    path_prefix: str | None = None
    type: FileType | None = None


class Executor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`tesExecutor`: one command in one image."""

    image: str
    command: tuple[str, ...]
    workdir: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    env: dict[str, str] | None = None
    ignore_error: bool | None = None


class Resources(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`tesResources`. Sizes are in units of 10^9 bytes; fractions of a core are accepted."""

    cpu_cores: float | None = None
    preemptible: bool | None = None
    ram_gb: float | None = None
    disk_gb: float | None = None
    zones: tuple[str, ...] | None = None
    backend_parameters: dict[str, str] | None = None
    backend_parameters_strict: bool | None = None


class Task(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`tesTask` without what the server adds (`id`, `state`, `logs`, `creation_time`)."""

    name: str | None = None
    description: str | None = None
    inputs: tuple[Input, ...] | None = None
    outputs: tuple[Output, ...] | None = None
    resources: Resources | None = None
    executors: tuple[Executor, ...]
    volumes: tuple[str, ...] | None = None
    tags: dict[str, str] | None = None


class Submitted(Task, frozen=True, kw_only=True, omit_defaults=True):
    """A task as it comes, with what is not TES: `callback_url`, as task-execution-schemas' pull request 176 proposes it."""

    callback_url: str | None = None


_encode = msgspec.json.Encoder().encode


def to_json(task: Task) -> bytes:
    """Return a task as it is stored and shown: cores in whole numbers, and 8 rather than 8.0."""
    resources = task.resources
    if resources is not None:
        task = replace(
            task,
            resources=replace(
                resources,
                cpu_cores=None if resources.cpu_cores is None else ceil(resources.cpu_cores),
                ram_gb=_short(resources.ram_gb),
                disk_gb=_short(resources.disk_gb),
            ),
        )
    return _encode(task)


def _short(number: float | None) -> float | None:
    return int(number) if number is not None and number == int(number) else number


class Extension(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What TESK keeps of a task beside its TES body, shown only below `/tesk/v1`.

    `untyped_inputs` and `untyped_outputs` are the positions whose `type` the client left out (the body says FILE until
    the run shows otherwise); `cpu_cores` is the exact fraction where the body had to be rounded up;
    `warnings` are the first lines of the task's `system_logs`.
    """

    untyped_inputs: tuple[int, ...] = ()
    untyped_outputs: tuple[int, ...] = ()
    cpu_cores: float | None = None
    warnings: tuple[str, ...] = ()
