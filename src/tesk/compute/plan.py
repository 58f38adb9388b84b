"""From a task to what a backend does for it, in order. Pure."""

from collections.abc import Iterator
from enum import StrEnum
from posixpath import dirname, normpath

from msgspec import Struct

from tesk.errors import CannotRun
from tesk.tes.patterns import first_wildcard, has_wildcards, literal
from tesk.tes.task import Executor, Extension, FileType, Resources, Task
from tesk.transfer import Deliver, Fetch, TransferList

BACKEND_PARAMETERS = frozenset({"time_limit_seconds"})
"""The backend parameters that are supported everywhere, in lower case. The controller keeps the time limit."""

GPU_COUNT = "gpu_count"
"""Supported by `containers`: how many of the machine's GPUs a task gets."""

_DIGITS = 10

TAILS_BYTES = 16 * 1024 * 1024
"""Most that is kept of all streams of all executors of one attempt."""


def gpus_of(task: Task) -> int:
    """Return how many GPUs a task asks for; what is no number of them counts as none, and its backend says what is wrong."""
    asked = (task.resources.backend_parameters if task.resources else None) or {}
    text = next((value for key, value in asked.items() if key.lower() == GPU_COUNT), "0")
    return int(text) if is_count(text) else 0


def is_count(text: str) -> bool:
    """Say whether a text is a whole number, of a size that things have."""
    return text.isdecimal() and len(text) < _DIGITS


class Shared(StrEnum):
    """How a path of the task's own is shown to its executors."""

    FOLDER = "FOLDER"
    """A folder of the task's, covering what the image has there."""
    WORKDIR = "WORKDIR"
    """A working directory that no other folder holds: a folder of the task's where the image has none there."""
    INPUT_FILE = "INPUT_FILE"
    """One file in a system folder: bound as it is."""
    OUTPUT_FILE = "OUTPUT_FILE"
    """One file in a system folder: made empty before, written in place."""


class SharedPath(Struct, frozen=True, kw_only=True):
    """One absolute path that all executors of the task see. None of a plan's paths lies in a FOLDER; parents come first."""

    path: str
    kind: Shared


class Step(Struct, frozen=True, kw_only=True):
    """One executor. Streams and workdir are absolute paths in the task; None means not asked for."""

    index: int
    image: str
    command: tuple[str, ...]
    env: dict[str, str]
    workdir: str | None
    stdin: str | None
    stdout: str | None
    stderr: str | None
    ignore_error: bool


class Plan(Struct, frozen=True, kw_only=True):
    """All that a backend must know of one task. Bytes, cores, seconds; `disk_bytes` 0 means not asked for.

    `folders` are to be made before the first executor, below the shared ones: those of files that will be written, and
    the outputs that are directories.
    `transfer.inputs` come first, then `steps` in order, then `transfer.outputs`. `tail_bytes` is how much of each stream
    goes into the ExecutorLog. `parameters` are the backend parameters, by lower-case key. What a backend has no word for
    (`preemptible`, `zones`, `tags`) is there all the same.
    """

    task_id: str
    name: str | None
    shared: tuple[SharedPath, ...]
    folders: tuple[str, ...] = ()
    steps: tuple[Step, ...]
    transfer: TransferList
    cpu_cores: float
    ram_bytes: int
    disk_bytes: int
    tail_bytes: int
    parameters: dict[str, str]
    preemptible: bool = False
    zones: tuple[str, ...] = ()
    tags: dict[str, str] = {}


def make_plan(
    task: Task,
    *,
    task_id: str,
    owner: str,
    extension: Extension,
    cpu_cores: float,
    ram_bytes: int,
    disk_bytes: int,
    tail_bytes: int,
) -> Plan:
    """Plan a validated task of `owner`. Resources come with the defaults applied.

    Raises CannotRun with the path that no backend can show to an executor.
    """
    inputs = tuple(
        Fetch(
            index=index,
            path=entry.path,
            url=entry.url,
            content=entry.content,
            type=None if index in extension.untyped_inputs else entry.type,
            streamable=bool(entry.streamable),
        )
        for index, entry in enumerate(task.inputs or ())
    )
    outputs = tuple(
        Deliver(
            index=index,
            path=entry.path,
            url=entry.url,
            path_prefix=entry.path_prefix,
            type=None if index in extension.untyped_outputs else entry.type,
        )
        for index, entry in enumerate(task.outputs or ())
    )
    asked = task.resources or Resources()
    return Plan(
        task_id=task_id,
        name=task.name,
        shared=_collapse([*_shared(inputs, outputs, task)]),
        folders=tuple(sorted({*_folders(outputs, task)})),
        steps=tuple(_step(index, executor) for index, executor in enumerate(task.executors)),
        transfer=TransferList(caller=owner, inputs=inputs, outputs=outputs),
        cpu_cores=cpu_cores,
        ram_bytes=ram_bytes,
        disk_bytes=disk_bytes,
        # A task is one row, and its logs are in memory until then: thousands of executors share what there is for one.
        tail_bytes=min(tail_bytes, TAILS_BYTES // (2 * len(task.executors))),
        parameters={key.lower(): value for key, value in (asked.backend_parameters or {}).items()},
        preemptible=bool(asked.preemptible),
        zones=asked.zones or (),
        tags=task.tags or {},
    )


def _step(index: int, executor: Executor) -> Step:
    env = executor.env or {}
    streams = (executor.stdin, executor.stdout, executor.stderr, executor.workdir)
    for text in (*executor.command, *env, *env.values(), *(path for path in streams if path)):
        if "\0" in text or not _can_encode(text):
            raise CannotRun(f"executors[{index}]: {text!r} holds a character that no program can be given.")
    return Step(
        index=index,
        image=executor.image,
        command=executor.command,
        env=env,
        workdir=executor.workdir or None,
        stdin=executor.stdin or None,
        stdout=executor.stdout or None,
        stderr=executor.stderr or None,
        ignore_error=bool(executor.ignore_error),
    )


def _can_encode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# What images and hosts have, and programs need: a single file of a task's is put among it, a folder is not laid over it.
_SYSTEM = frozenset({"bin", "boot", "etc", "lib", "lib32", "lib64", "libexec", "libx32", "opt", "root", "sbin", "usr"})
_KERNEL = frozenset({"dev", "proc", "sys"})


def _shared(inputs: tuple[Fetch, ...], outputs: tuple[Deliver, ...], task: Task) -> Iterator[SharedPath]:
    for entry in inputs:
        yield _at(f"inputs[{entry.index}].path", entry.path, entry.type, Shared.INPUT_FILE)
    for output in outputs:
        where = f"outputs[{output.index}].path"
        if has_wildcards(output.path):
            yield _at(where, _literal_folder(output.path), FileType.DIRECTORY, Shared.OUTPUT_FILE, pattern=output.path)
        else:
            yield _at(where, literal(output.path), output.type, Shared.OUTPUT_FILE)
    for index, volume in enumerate(task.volumes or ()):
        yield _at(f"volumes[{index}]", volume, FileType.DIRECTORY, Shared.OUTPUT_FILE)
    for executor in task.executors:
        for stream in (executor.stdin, executor.stdout, executor.stderr):
            # A stream's file is opened from outside, so it may lie even where nothing can be shown (`/dev/null`).
            if stream and _first(stream) not in _KERNEL:
                yield _at("stream", stream, FileType.FILE, Shared.OUTPUT_FILE)
        workdir = _normal(executor.workdir or "/")
        if workdir != "/" and _first(workdir) not in _SYSTEM | _KERNEL:
            yield SharedPath(path=workdir, kind=Shared.WORKDIR)


def _at(where: str, path: str, type_: FileType | None, single: Shared, *, pattern: str | None = None) -> SharedPath:
    """How to show one thing; `type_` None (not known yet) counts as a file, whose folder holds either."""
    if "\0" in path or not _can_encode(path):
        raise CannotRun(f"{where}: {path!r} holds a character that no path can have.")
    normal = _normal(path)
    named = pattern or path
    first = _first(normal)
    if first in _KERNEL:
        raise CannotRun(f"{where}: {named} lies in /{first}, which belongs to the kernel; use another folder.")
    if normal == "/":
        raise CannotRun(f"{where}: {named} would need a folder of the task's in the place of /; use a folder below it.")
    if type_ is FileType.DIRECTORY:
        if pattern is not None and normal == f"/{first}" and first in _SYSTEM:
            raise CannotRun(
                f"{where}: {named} would need a folder of the task's in the place of {normal}, where the programs "
                "are; use another folder."
            )
        return SharedPath(path=normal, kind=Shared.FOLDER)
    folder = dirname(normal)
    if folder == "/" or first in _SYSTEM:
        return SharedPath(path=normal, kind=single)
    return SharedPath(path=folder, kind=Shared.FOLDER)


def _collapse(paths: list[SharedPath]) -> tuple[SharedPath, ...]:
    """Keep of nested folders the topmost one, and each path once: as FOLDER before INPUT_FILE before the others."""
    rank = [Shared.FOLDER, Shared.INPUT_FILE, Shared.OUTPUT_FILE, Shared.WORKDIR]
    kept: dict[str, Shared] = {}
    topmost = None
    # By parts, so what lies in a folder follows it at once.
    for entry in sorted(paths, key=lambda entry: (entry.path.split("/"), rank.index(entry.kind))):
        inner = topmost is not None and entry.path.startswith(topmost + "/")
        if not inner and kept.setdefault(entry.path, entry.kind) is Shared.FOLDER:
            topmost = entry.path
    return tuple(SharedPath(path=path, kind=kind) for path, kind in kept.items())


def _folders(outputs: tuple[Deliver, ...], task: Task) -> Iterator[str]:
    """The folders in which a program may expect to write at once."""
    for output in outputs:
        if has_wildcards(output.path):
            yield _literal_folder(output.path)
        elif output.type is FileType.DIRECTORY:
            yield _normal(literal(output.path))
        else:
            yield dirname(_normal(literal(output.path)))
    for volume in task.volumes or ():
        yield _normal(volume)


def _literal_folder(pattern: str) -> str:
    """The longest literal part of a pattern: the folders before the first wildcard, escapes undone."""
    return _normal(literal(pattern[: pattern.rindex("/", 0, first_wildcard(pattern)) + 1]))


def _normal(path: str) -> str:
    return normpath("/" + path.lstrip("/"))


def _first(path: str) -> str:
    return path.lstrip("/").partition("/")[0]
