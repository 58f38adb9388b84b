"""Which inputs may come as named pipes, so that the program starts at once. Pure."""

from posixpath import dirname, normpath

from tesk.compute.plan import Plan, Shared
from tesk.tes.patterns import first_wildcard, has_wildcards, literal
from tesk.tes.task import FileType


def pipes_of(plan: Plan) -> tuple[int, ...]:
    """Return the inputs, by index, that their task lets be streamed and that nothing but its programs reads.

    A pipe lies in a folder that executors see, where another one can take its place; what an output may be, or the stdin
    that we open, is a file.
    """
    folders = [entry.path for entry in plan.shared if entry.kind is Shared.FOLDER]
    others = [normpath(step.stdin) for step in plan.steps if step.stdin is not None]
    for output in plan.transfer.outputs:
        path = output.path
        others.append(
            dirname(literal(path[: first_wildcard(path)]) + "x") if has_wildcards(path) else normpath(literal(path))
        )
    return tuple(
        fetch.index
        for fetch in plan.transfer.inputs
        if fetch.streamable
        and fetch.content is None
        and fetch.type is not FileType.DIRECTORY
        and any(_lies_in(normpath(fetch.path), folder) for folder in folders)
        and not any(_lies_in(normpath(fetch.path), other) for other in others)
    )


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
