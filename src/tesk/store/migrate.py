"""Which numbered SQL files bring a database up to this program, forward only. Pure but for reading our own package."""

import re
from importlib import resources
from typing import Literal, NamedTuple

from tesk.errors import StoreTooNew

_NAME = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql")


class Migration(NamedTuple):
    """One step: the version that it leads to, and its SQL."""

    version: int
    sql: str


def migrations(dialect: Literal["sqlite", "postgres"]) -> tuple[Migration, ...]:
    """Return all steps in order."""
    folder = resources.files(__package__) / "migrations" / dialect
    return tuple(
        sorted(
            Migration(int(match[1]), file.read_text("utf-8"))
            for file in folder.iterdir()
            if (match := _NAME.fullmatch(file.name))
        )
    )


def missing(steps: tuple[Migration, ...], version: int, database: str) -> tuple[Migration, ...]:
    """Return the steps that a database at `version` (0: empty) still wants. Raises StoreTooNew."""
    newest = steps[-1].version
    if version > newest:
        raise StoreTooNew(
            f"{database} was written by a newer TESK (its schema is number {version}, this program knows up to {newest}). "
            "Install the newer TESK again, or restore a backup from before."
        )
    return steps[version:]
