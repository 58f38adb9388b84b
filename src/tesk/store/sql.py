"""One text for both databases: statements have named parameters (`:id`), which SQLite reads as they are."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

_PARAMETER = re.compile(r"(?<!:):([a-z_][a-z_0-9]*)")

Scalar = str | bytes | int | float | None
Value = Scalar | Sequence[Scalar]
Parameters = Mapping[str, Value]


@lru_cache(maxsize=1024)
def numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement as PostgreSQL wants it (`$1`), and the names of its parameters in that order."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(statement)))
    return _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", statement), names


def arguments(names: tuple[str, ...], parameters: Parameters) -> list[Value]:
    """Return the parameters in order."""
    return [parameters[name] for name in names]
