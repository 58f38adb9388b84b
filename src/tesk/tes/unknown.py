"""Which fields of a task TES does not know, and which they were meant to be. Servers ignore them, so whoever wrote one hears it here. Pure."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from msgspec import Struct
from msgspec.structs import fields

from tesk.errors import Problem
from tesk.tes.task import Executor, Input, Output, Resources, Task

_PARTS: dict[str, type[Struct]] = {"inputs": Input, "outputs": Output, "resources": Resources, "executors": Executor}
_HOMES: dict[str, type[Struct]] = {**_PARTS, "the task itself": Task}
_READ_ONLY = ("id", "state", "logs", "creation_time")
"""What servers say of a task, and clients send back with it."""


def unknown_fields(document: Mapping[str, object]) -> tuple[Problem, ...]:
    """Return a problem for each field of a task, as it was written, that is none of TES 1.1, with the nearest one that is."""
    return tuple(_unknown(document))


def _unknown(document: Mapping[str, object]) -> Iterator[Problem]:
    yield from _in(document, "", (*_names(Task), *_READ_ONLY))
    for part, kind in _PARTS.items():
        found = document.get(part)
        if isinstance(found, dict):
            yield from _in(found, f"{part}.", _names(kind))
        elif isinstance(found, list):
            for index, one in enumerate(found):
                if isinstance(one, dict):
                    yield from _in(one, f"{part}[{index}].", _names(kind))


def _in(document: Mapping[str, object], place: str, known: tuple[str, ...]) -> Iterator[Problem]:
    for name in document:
        if name not in known:
            yield Problem(f"{place}{name}", f"no field of TES{_meant(str(name), known)}, so it is ignored")


def _meant(name: str, known: tuple[str, ...]) -> str:
    if near := get_close_matches(name.lower(), known, n=1):
        return f" (did you mean {near[0]}?)"
    homes = [part for part, kind in _HOMES.items() if name in _names(kind)]
    return f" at this place (it is one of {' and '.join(homes)})" if homes else ""


def _names(kind: type[Struct]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in fields(kind))
