"""From a path to a descriptor below one folder, by the kernel's own way or by ours. The one place where paths are resolved."""

import ctypes
import errno
import os
import stat
from pathlib import Path

_OPENAT2 = 437  # the same number on every architecture but alpha
_NO_MAGICLINKS = 0x02
_IN_ROOT = 0x10
_PATH_MAX = 4096
LINKS_MAX = 40  # as the kernel has it
_TRIES = 10
"""While anything on the whole machine is renamed, a path with ".." gets EAGAIN; a busy one never gets through that way."""
_STEPS_MAX = 100_000  # a link may hold a thousand times "a/.."; forty of them must not keep us for an hour

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Root:
    """One folder, by its descriptor `folder`, which is open until `close`. Safe from many threads.

    `openat2` False never asks the kernel for its own way to stay below a folder; a kernel (or a seccomp filter) that
    has none is noticed.
    """

    def __init__(self, root: Path, *, openat2: bool) -> None:
        self.folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.openat2 = openat2 and _kernel_has_openat2(self.folder)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.folder)

    def find(self, path: str, *, follow: bool = True) -> int:
        """Return a new descriptor (O_PATH) of what is at `path`; a link in its last part is followed where `follow`."""
        flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        asked = os.fsencode(path.rstrip("/") or "/")
        if not self.openat2 or len(asked) >= _PATH_MAX:
            return self._walk(path, follow=follow)
        for _ in range(_TRIES):
            try:
                return _openat2(self.folder, asked, flags)
            except BlockingIOError:
                pass
        return self._walk(path, follow=follow)

    def _walk(self, path: str, *, follow: bool) -> int:
        """What openat2 does, part by part. For ".." and links it starts again from the root, so it keeps one descriptor."""
        todo = path.split("/")[::-1]
        trail: list[str] = []
        links = 0
        here = os.dup(self.folder)
        try:
            for _ in range(_STEPS_MAX):
                if not todo:
                    found, here = here, -1
                    return found
                name = todo.pop()
                if name in {"", "."}:
                    continue
                if name == "..":
                    del trail[-1:]
                    while todo and todo[-1] == "..":
                        todo.pop()
                        del trail[-1:]
                else:
                    step = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                    is_link = stat.S_ISLNK(os.fstat(step).st_mode)
                    if not is_link or (not follow and not any(todo)):
                        os.close(here)
                        here = step
                        trail.append(name)
                        continue
                    target = _read_and_close(step)
                    links += 1
                    if links > LINKS_MAX:
                        break
                    todo.extend(target.split("/")[::-1])
                    if not target.startswith("/"):
                        continue  # it begins in the folder where we stand
                    trail.clear()
                todo.extend(reversed(trail))
                trail.clear()
                os.close(here)
                here = os.dup(self.folder)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        finally:
            if here >= 0:
                os.close(here)


def _openat2(root: int, path: bytes, flags: int) -> int:
    how = _OpenHow(flags, 0, _IN_ROOT | _NO_MAGICLINKS)
    number: int = _libc.syscall(_OPENAT2, root, ctypes.c_char_p(path), ctypes.byref(how), ctypes.sizeof(how))
    if number < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return number


def _kernel_has_openat2(root: int) -> bool:
    try:
        os.close(_openat2(root, b".", os.O_PATH | os.O_CLOEXEC))
    except OSError:
        return False  # ENOSYS from Linux before 5.6, EPERM from old seccomp filters
    return True


def _read_and_close(link: int) -> str:
    try:
        return os.readlink("", dir_fd=link)
    finally:
        os.close(link)
