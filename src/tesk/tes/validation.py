"""Take a task in: from the bytes that came to what is stored, or to all that is wrong with it. Pure."""

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tesk.tes.document import MOST_CORES, MOST_GB, Reading, parse
from tesk.tes.task import Executor, Extension, FileType, Input, Output, Resources, Submitted, Task, to_json

_decode = msgspec.json.Decoder(Submitted).decode
_PLAIN = Extension()
_SHORT_PATH = 1000  # whatever its letters are, not longer in bytes than a path may be


class Accepted(Struct, frozen=True, kw_only=True):
    """A good task. `body` is its canonical JSON: no nulls, nothing unknown or read-only, lists and types always there.

    `callback_url` came at the task's top level and is no part of its body; nobody has judged it yet.
    """

    task: Task
    body: bytes
    extension: Extension
    callback_url: str | None = None


def accept(raw: bytes, *, parameters: frozenset[str], content_limit_bytes: int) -> Accepted:
    """Return a task that came as JSON. Raises BadRequest with all problems and where they are.

    `parameters`: the backend parameters that are supported, in lower case. `content_limit_bytes`: most `content` in all.
    """
    # Most tasks are plain: decoded with types, looked at, done. Whatever is odd takes the long way, which knows why.
    try:
        task = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _slowly(raw, parameters, content_limit_bytes)
    if _is_plain(task, content_limit_bytes):
        accepted, added = _canonical(task, ())
        # What the bytes hold beyond what was read of them (nulls, fields that are not ours, keys given twice) shows in
        # the number of quotes. A NUL can only come as an escape.
        added -= 0 if task.callback_url is None else 4
        if raw.count(b'"') + added == accepted.body.count(b'"') and b"\\u0000" not in raw:
            return accepted
    return _slowly(raw, parameters, content_limit_bytes)


def _slowly(raw: bytes, parameters: frozenset[str], content_limit_bytes: int) -> Accepted:
    reading = Reading(parameters, content_limit_bytes)
    clean = reading.task(parse(raw))
    if reading.problems:
        raise reading.refusal()
    return _canonical(msgspec.convert(clean, Submitted), tuple(reading.warnings))[0]


# -- is it plain? ---------------------------------------------------------------------------------------------------------


def _is_plain(task: Task, content_limit_bytes: int) -> bool:
    """Say whether nothing at all is odd about a task. A no is no verdict: the long way gives it."""
    return (
        bool(task.executors)
        and all(map(_is_plain_executor, task.executors))
        and (task.inputs is None or _are_plain_inputs(task.inputs, content_limit_bytes))
        and (task.outputs is None or all(map(_is_plain_output, task.outputs)))
        and (task.volumes is None or all(map(_is_absolute, task.volumes)))
        and (task.resources is None or _are_plain_resources(task.resources))
    )


def _is_absolute(path: str) -> bool:
    return path[:1] == "/" and "/.." not in path and len(path) < _SHORT_PATH


def _is_plain_executor(executor: Executor) -> bool:
    command = executor.command
    if not (executor.image and command and command[0]):
        return False
    for path in (executor.workdir, executor.stdin, executor.stdout, executor.stderr):
        if path is not None and not _is_absolute(path):
            return False
    return executor.env is None or not any("=" in name or not name for name in executor.env)


def _are_plain_inputs(inputs: tuple[Input, ...], content_limit_bytes: int) -> bool:
    length = 0
    for entry in inputs:
        if not _is_absolute(entry.path) or entry.url == "":
            return False
        if entry.content is None:
            if entry.url is None:
                return False
        elif entry.type is FileType.DIRECTORY or (not entry.content and entry.url is not None):
            return False
        else:
            length += len(entry.content)
    return length * 4 <= content_limit_bytes


def _is_plain_output(output: Output) -> bool:
    path = output.path
    return (
        bool(output.url)
        and _is_absolute(path)
        and output.path_prefix != ""
        and (output.path_prefix is not None or not ("*" in path or "?" in path or "[" in path))
    )


def _are_plain_resources(resources: Resources) -> bool:
    return (
        resources.backend_parameters is None
        and (resources.cpu_cores is None or 0 <= resources.cpu_cores <= MOST_CORES)
        and (resources.ram_gb is None or 0 <= resources.ram_gb <= MOST_GB)
        and (resources.disk_gb is None or 0 <= resources.disk_gb <= MOST_GB)
    )


# -- as it is stored ------------------------------------------------------------------------------------------------------


def _canonical(submitted: Submitted, warnings: tuple[str, ...]) -> tuple[Accepted, int]:
    """Return a good task as it is stored, and how many quotes the body has for what the client left out."""
    task: Task = submitted
    inputs, outputs, resources = task.inputs or (), task.outputs or (), task.resources
    types = [entry.type for entry in inputs].count(None) + [entry.type for entry in outputs].count(None)
    untyped_inputs: tuple[int, ...] = ()
    untyped_outputs: tuple[int, ...] = ()
    if types:
        # What has content is a file, said or not.
        # Of lists: a generator costs as much again as what is in it.
        untyped_inputs = tuple([n for n, each in enumerate(inputs) if each.type is None and each.content is None])
        untyped_outputs = tuple([n for n, each in enumerate(outputs) if each.type is None])
        inputs = tuple([each if each.type is not None else replace(each, type=FileType.FILE) for each in inputs])
        outputs = tuple([each if each.type is not None else replace(each, type=FileType.FILE) for each in outputs])
    cores = None if resources is None else resources.cpu_cores
    exact = cores if cores is not None and cores != int(cores) else None
    lists = (task.inputs, task.outputs, task.volumes, task.tags)
    task = Task(
        name=task.name,
        description=task.description,
        inputs=inputs,
        outputs=outputs,
        resources=resources,
        executors=task.executors,
        volumes=task.volumes or (),
        tags=task.tags or {},
    )
    extension = _PLAIN
    if untyped_inputs or untyped_outputs or exact is not None or warnings:
        extension = Extension(
            untyped_inputs=untyped_inputs, untyped_outputs=untyped_outputs, cpu_cores=exact, warnings=warnings
        )
    added = 4 * types + 2 * lists.count(None)
    url = submitted.callback_url or None
    return Accepted(task=task, body=to_json(task), extension=extension, callback_url=url), added
