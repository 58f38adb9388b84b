"""How much of the disk an attempt's folders take."""

import contextlib
import os
from collections.abc import Iterable

_BLOCK_BYTES = 512  # st_blocks counts in these, whatever the file system


def used_bytes(folders: Iterable[str]) -> int:
    """Return what lies below some folders, in blocks of the disk. Links are not followed, a file with two names counts once.

    What cannot be looked at is not counted, nor what comes and goes meanwhile.
    """
    used = 0
    seen: set[int] = set()
    todo = list(folders)
    while todo:
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        if status.st_ino in seen:
                            continue
                        seen.add(status.st_ino)
                    used += status.st_blocks * _BLOCK_BYTES
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
    return used
