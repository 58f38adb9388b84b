"""An executor's stdout and stderr: files that its program writes itself, whoever lives meanwhile."""

import contextlib
import ctypes
import os

from tesk.compute.machine.streams import File, Written

_libc = ctypes.CDLL(None, use_errno=True)
_PUNCH_HOLE, _KEEP_SIZE = 0x02, 0x01
_SLACK_BYTES = 1024 * 1024


def trim(fd: int, keep_bytes: int) -> None:
    """Give back what a file takes on the disk but for its end, and leave its size: only the end goes into the log."""
    size = os.fstat(fd).st_size
    if size > keep_bytes + _SLACK_BYTES:
        # Where the file system cannot do it, it takes what it takes.
        _libc.fallocate64(fd, _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size - keep_bytes))


def read(fd: int, keep_bytes: int) -> Written:
    """Return what a file holds, and let go of it."""
    file = File(fd, keep_bytes)
    with contextlib.suppress(OSError):
        file.close()
    return file.written()
