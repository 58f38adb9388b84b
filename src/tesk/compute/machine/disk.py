"""How much of the disk an attempt's folders take."""

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from tesk.inside import Inside

_BLOCK_BYTES = 512  # st_blocks counts in these, whatever the file system


def used_bytes(folders: Iterable[str]) -> int:
    """Return what lies below some folders, in blocks of the disk. A link is not followed, a file with two names counts once.

    What cannot be looked at is not counted, nor what comes and goes meanwhile.
    """
    return sum(map(_used_in, folders))


def _used_in(top: str) -> int:
    used = 0
    seen: set[int] = set()
    todo = ["/"]
    with contextlib.suppress(OSError), Inside(Path(top)) as inside:
        while todo:
            folder = todo.pop()
            with contextlib.suppress(OSError):
                for name, status in inside.list(folder):
                    is_folder = stat.S_ISDIR(status.st_mode)
                    if status.st_nlink > 1 and not is_folder:
                        if status.st_ino in seen:
                            continue
                        seen.add(status.st_ino)
                    used += status.st_blocks * _BLOCK_BYTES
                    # A folder that is closed stays so: the program runs, and may look at its mode.
                    if is_folder and (os.geteuid() == 0 or status.st_mode & stat.S_IRWXU == stat.S_IRWXU):
                        todo.append(os.path.join(folder, name))
    return used
