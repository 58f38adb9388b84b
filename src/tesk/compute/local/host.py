"""What this machine is to executors: its programs, as far as they see them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tesk.compute.local.sandbox import ETC, HostKind, HostPath
from tesk.compute.plan import Plan
from tesk.errors import CannotRun, StartError

UNSAFE = (
    "There is NO SANDBOX (local.sandbox is none): executors see and change all that the server's user may, its database and "
    "settings included, share its network, and may leave processes behind."
)


def seen(visible: Sequence[str]) -> Iterator[HostPath]:
    """Yield what executors see of the host: the visible folders that there are, and the named files of `/etc`."""
    for path in visible:
        if os.path.islink(path):
            yield HostPath(path=path, kind=HostKind.LINK, source=os.readlink(path))
        elif os.path.isdir(path):
            yield HostPath(path=path, kind=HostKind.FOLDER, source=path)
    for name in ETC:
        source = os.path.realpath(f"/etc/{name}")
        if os.path.exists(source):
            kind = HostKind.FOLDER if os.path.isdir(source) else HostKind.FILE
            yield HostPath(path=f"/etc/{name}", kind=kind, source=source)


def check_hidden(work: Path, visible: Sequence[str]) -> None:
    """Raise StartError where executors would see the server's own folders among the host's."""
    for folder in visible:
        if work.resolve().is_relative_to(Path(folder).resolve()):
            raise StartError(
                f"Executors would see {work}, since it lies in {folder} (local.visible); set data_dir to another place."
            )


def check_paths(plan: Plan, seen: Sequence[HostPath]) -> None:
    """Raise CannotRun for a path that cannot be made, because it lies in a folder of the host's that has nothing there."""
    for entry in plan.shared:
        for folder in seen:
            below = folder.kind is not HostKind.FILE and entry.path.startswith(folder.path + "/")
            if below and not os.path.exists(entry.path):
                raise CannotRun(
                    f"{entry.path} cannot be made: {folder.path} is the host's and read-only here, and has nothing of that "
                    "name. Use a path outside of it."
                )
