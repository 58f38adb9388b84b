"""Where attempts belong: a machine in one of its boots, and a folder on it; and which other folders a server may act on."""

import os
from pathlib import Path
from typing import NamedTuple


class _Place(NamedTuple):
    """What a place says. The path comes last, since anything may be in it."""

    machine: str
    boot: str
    folder: str
    path: str


def place_of(work: Path) -> str:
    """Return the name of this machine in its present boot, and of the folder in which attempts lie."""
    machine = _read("/etc/machine-id") or _read("/var/lib/dbus/machine-id")
    return ":".join((machine, _read("/proc/sys/kernel/random/boot_id"), identity(work), str(work)))


def identity(folder: Path) -> str:
    """Return what tells a folder from all others of this machine, by whatever path it is reached."""
    found = folder.stat()
    return f"{found.st_dev:x}-{found.st_ino:x}"


def same_home(one: str, other: str) -> bool:
    """Say whether two places are the same machine and folder, whatever the boot: what ran before a reboot runs no more."""
    if one == other:
        return True
    first, second = _parse(one), _parse(other)
    if first is None or second is None or not first.machine:
        return False
    return (first.machine, first.folder) == (second.machine, second.folder)


def neighbour(place: str, ours: str) -> Path | None:
    """Return the work folder of a place where it is another one of our machine, boot and user; None where it is not.

    Another user's is none: it is that user who says what is in it, and we would remove what it names.
    """
    there, here = _parse(place), _parse(ours)
    # Small images have no machine id. A boot is random, and its folders, looked at below, are enough then.
    if there is None or here is None or not here.boot:
        return None
    if (there.machine, there.boot) != (here.machine, here.boot) or there.folder == here.folder:
        return None
    path = Path(there.path)
    try:
        # Another container of this machine may have something else there.
        if path.is_absolute() and identity(path) == there.folder and path.stat().st_uid == os.geteuid():
            return path
    except OSError:
        pass
    return None


def _parse(place: str) -> _Place | None:
    words = place.split(":", 3)
    return _Place(*words) if len(words) == len(_Place._fields) else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
