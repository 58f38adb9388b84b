"""A file that is whole or not there, whoever is killed meanwhile: it gets its name last."""

import contextlib
import errno
import os
from collections.abc import Iterator

_NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""What file systems, and kernels, without files that have no name say."""


@contextlib.contextmanager
def whole_file(folder: int, name: str, mode: int, *, beside: str, durable: bool = False) -> Iterator[int]:
    """Give a new file, open for reading and writing, that is called `name` in `folder` (a descriptor) once the block ends well.

    What has that name is replaced, a link itself, but no folder. `beside` is a name that it has for a moment where it
    replaces something, and for longer where the file system has no files without names. `durable`: its bytes are on disk
    before it has a name.
    """
    unnamed = True
    try:
        made = os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, mode, dir_fd=folder)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
        unnamed = False
        _unlink(beside, folder)
        made = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)
    try:
        yield made
        if durable:
            os.fsync(made)
        if unnamed and not _link(made, name, folder):
            _unlink(beside, folder)
            _link(made, beside, folder)
            unnamed = False
        if not unnamed:
            os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        if not unnamed:
            with contextlib.suppress(OSError):
                _unlink(beside, folder)
        raise
    finally:
        os.close(made)


def _link(file: int, name: str, folder: int) -> bool:
    """Give an open file a name; say whether there was none of that name yet."""
    try:
        os.link(f"/proc/self/fd/{file}", name, dst_dir_fd=folder)
    except FileExistsError:
        return False
    return True


def _unlink(name: str, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
