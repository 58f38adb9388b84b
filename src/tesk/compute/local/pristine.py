"""What a folder is like beside its entries, to tell an empty one that its user has changed from one that was just made."""

import fcntl
import os

from msgspec import Struct

_GETFLAGS = 0x80086601
_GETXATTR = 0x801C581F
"""ioctl_iflags(2) and FS_IOC_FSGETXATTR: what chattr(1) sets, project, hints on the size of extents."""

_EXTENTS = slice(8, 12)
"""How many extents there are, which says nothing."""


class Nature(Struct, frozen=True):
    """All that an owner of a folder may set and a later user of it could notice, but for times."""

    mode: int
    owner: tuple[int, int]
    links: int
    size_bytes: int
    attributes: tuple[tuple[str, bytes], ...]
    flags: bytes
    more_flags: bytes


def empty_nature(path: str) -> Nature | None:
    """Return what a folder is like, None where it is not empty. Raises OSError where it is no folder."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.listdir(fd):
            return None
        status = os.fstat(fd)
        more = bytearray(_ask(fd, _GETXATTR, 28))
        more[_EXTENTS] = bytes(4)
        return Nature(
            status.st_mode,
            (status.st_uid, status.st_gid),
            status.st_nlink,
            status.st_size,
            tuple((name, os.getxattr(fd, name)) for name in sorted(os.listxattr(fd))),
            _ask(fd, _GETFLAGS, 8),
            bytes(more),
        )
    finally:
        os.close(fd)


def _ask(fd: int, what: int, size: int) -> bytes:
    try:
        return fcntl.ioctl(fd, what, bytes(size))
    except OSError:  # a file system without such things
        return bytes(size)
