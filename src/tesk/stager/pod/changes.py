"""Wait until something is true of a folder, woken by what comes to stand in it."""

import ctypes
import os
import select
from collections.abc import Callable, Iterable
from pathlib import Path

_CLOEXEC, _NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
_CLOSE_WRITE, _MOVED_TO, _CREATE = 0x08, 0x80, 0x100
_LOOK_WATCHED_SECONDS = 5.0
"""Some file systems tell nobody of changes that others made."""
_LOOK_UNWATCHED_SECONDS = 0.25
"""Users have 128 inotify instances on a node by default, so there may be none left for us."""

_libc = ctypes.CDLL(None, use_errno=True)


def wait_until(true: Callable[[], bool], folders: Iterable[Path]) -> None:
    """Return when `true` says so, which may change whenever a file gets its name in one of the folders. They exist."""
    watch = _watch(folders)
    try:
        poll = select.poll()
        if watch >= 0:
            poll.register(watch, select.POLLIN)
        period = _LOOK_WATCHED_SECONDS if watch >= 0 else _LOOK_UNWATCHED_SECONDS
        while not true():
            if poll.poll(period * 1000):
                os.read(watch, 65536)
    finally:
        if watch >= 0:
            os.close(watch)


def _watch(folders: Iterable[Path]) -> int:
    """A descriptor that can be read when something changed; -1 where the kernel gives none."""
    watch: int = _libc.inotify_init1(_CLOEXEC | _NONBLOCK)
    for folder in folders:
        if watch >= 0 and _libc.inotify_add_watch(watch, os.fsencode(folder), _CLOSE_WRITE | _MOVED_TO | _CREATE) < 0:
            os.close(watch)
            return -1
    return watch
