"""The folders of attempts below one work folder.

attempts/<attempt>/journal      what was done so far
attempts/<attempt>/root         stands for the task's `/`
attempts/<attempt>/own/<step>   what is one executor's own: its streams where the task names none, its environment
trash/...                       on its way out
"""

import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from tesk.compute.backend import AttemptId, named
from tesk.compute.machine.place import identity
from tesk.inside import delete_folder

PLACE, FOLDER = "tesk.place", "tesk.folder"
"""Labels of containers: what tells the folder of their server from all others, and its path."""


class Folders:
    """All attempts of one server."""

    def __init__(self, work: Path) -> None:
        self.attempts = work / "attempts"
        self._trash = work / "trash"

    def prepare(self) -> None:
        """Make what is not there. Nobody but the server comes through: engines are root, or the server's own user."""
        for folder in (self.attempts, self._trash):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.attempts.parent.chmod(0o700)

    def path(self, attempt: AttemptId) -> Path:
        """Where an attempt's folder is, or would be."""
        return self.attempts / str(attempt)

    def create(self, attempt: AttemptId) -> Path:
        """Make an attempt's folder. Raises FileExistsError."""
        path = self.path(attempt)
        path.mkdir(mode=0o700)
        for part in ("root", "own"):
            (path / part).mkdir(mode=0o700)
        return path

    def existing(self) -> Iterator[AttemptId]:
        """Yield the attempts that have a folder."""
        for name in os.listdir(self.attempts):
            if (attempt := named(name)) is not None:
                yield attempt

    def take_away(self, attempt: AttemptId) -> Path | None:
        """Move an attempt's folder out of the way and return where it is now; None where there is none."""
        away = self._trash / f"{attempt}.{secrets.token_hex(8)}"
        try:
            os.rename(self.path(attempt), away)
        except FileNotFoundError:
            return None
        return away

    def trash(self) -> list[Path]:
        """Return what was taken away and is still there."""
        return [*self._trash.iterdir()]


def discard(away: Path) -> bool:
    """Remove a folder with all that is in it; say whether nothing of it is left: others' files may stand in the way."""
    try:
        delete_folder(away)
    except PermissionError:
        return False
    return True


def gone(labels: Mapping[str, str]) -> bool:
    """Say whether a container's server had a folder that is not there, as far as we may see it: no server takes it over."""
    try:
        return FOLDER in labels and identity(Path(labels[FOLDER])) != labels.get(PLACE)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def foreign(folder: Path) -> bool:
    """Say whether anything below a folder is not the server's own, or may be so: what cannot be looked into."""
    us = os.geteuid()
    todo = [folder]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_uid != us:
                        return True
                    if stat.S_ISDIR(status.st_mode):
                        todo.append(Path(entry.path))
        except PermissionError:
            return True
        except FileNotFoundError:
            continue
    return False
