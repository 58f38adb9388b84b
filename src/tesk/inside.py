"""Open, list, make and delete below one folder, never led out of it by a link.

Executors write what they like below their task's folder: links to `/etc`, fifos, devices, folders that nobody may open.
Every path here is the task's own: `/data/x` and `data/x` are both `<root>/data/x`, a link to `/etc/passwd` leads to
`<root>/etc/passwd`, and `..` at the root stays there. Names that are no UTF-8 are `str` with surrogates, as in `os`.
What goes wrong is an OSError that carries the path as it was asked for.
"""

import contextlib
import ctypes
import errno
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_OPENAT2 = 437  # the same number on every architecture but alpha
_NO_MAGICLINKS = 0x02
_IN_ROOT = 0x10
_PATH_MAX = 4096
_LINKS_MAX = 40  # as the kernel has it
_STEPS_MAX = 100_000  # a link may hold a thousand times "a/.."; forty of them must not keep us for an hour

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Found(NamedTuple):
    """One entry of a folder, itself (a link is not followed)."""

    name: str
    stat: os.stat_result


def kind(mode: int) -> str:
    """Say in words what a file of this `st_mode` is."""
    return _KINDS.get(stat.S_IFMT(mode), "a file")


class Inside:
    """One folder, `root`, and what lies below it. Safe from many threads; close it, or use it in a `with`.

    `openat2` False never asks the kernel for its own way to stay below a folder; a kernel (or a seccomp filter) that
    has none is noticed.
    """

    def __init__(self, root: Path, *, openat2: bool = True) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._openat2 = openat2 and _kernel_has_openat2(self._root)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
        """Open a regular file and return its descriptor; links are followed inside. Never blocks, never opens a device.

        O_CREAT makes the file (also where a link inside leads to nothing yet), with O_EXCL only if there is nothing, not
        even a link. A file of our own whose mode forbids it is made readable and writable for us first.
        """
        with _named(path):
            wanted = path
            for _ in range(_LINKS_MAX):
                if flags & os.O_EXCL == 0:
                    try:
                        found = self._find(wanted, follow=flags & os.O_NOFOLLOW == 0)
                    except FileNotFoundError:
                        if flags & os.O_CREAT == 0:
                            raise
                    else:
                        return _reopen(found, flags)
                with self._parent(wanted) as (folder, name):
                    try:
                        return os.open(
                            name, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder
                        )
                    except FileExistsError:
                        if flags & (os.O_EXCL | os.O_NOFOLLOW):
                            raise
                        # A link that leads to nothing yet, or somebody was quicker than we.
                        with contextlib.suppress(OSError):
                            wanted = os.path.join(os.path.dirname(wanted.rstrip("/")), os.readlink(name, dir_fd=folder))
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result | None:
        """Look at what is at `path`, or return None where there is nothing (also behind a link that leads nowhere)."""
        with _named(path):
            try:
                found = self._find(path, follow=follow)
            except (FileNotFoundError, NotADirectoryError):
                return None
            try:
                return os.fstat(found)
            finally:
                os.close(found)

    def list(self, path: str) -> Iterator[Found]:
        """Yield what is in a folder, in no order. What goes away meanwhile may be missing."""
        with _named(path):
            folder = _reopen(self._find(path), os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(folder) as names:
                    for entry in names:
                        with contextlib.suppress(FileNotFoundError):
                            yield Found(entry.name, entry.stat(follow_symlinks=False))
            finally:
                os.close(folder)

    def make_folders(self, path: str, mode: int = 0o777, owner: tuple[int, int] | None = None) -> None:
        """Make a folder and its parents, as far as they are not there; what is made belongs to `owner` (uid, gid)."""
        missing = []
        at = path.rstrip("/")
        while at and (there := self.stat(at)) is None:
            missing.append(at)
            at = at.rpartition("/")[0].rstrip("/")
        if at and there is not None and not stat.S_ISDIR(there.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, f"is {kind(there.st_mode)}, not a folder", at)
        for folder in reversed(missing):
            with _named(folder), self._parent(folder) as (parent, name):
                try:
                    os.mkdir(name, mode, dir_fd=parent)
                except FileExistsError:
                    if self.stat(folder) is None:
                        raise  # a link that leads nowhere
                    continue
                if owner is not None:
                    os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)

    def chmod(self, path: str, mode: int) -> None:
        """Set the permission bits of a file or folder, through links inside."""
        with _named(path):
            found = self._find(path)
            try:
                os.chmod(f"/proc/self/fd/{found}", mode)
            finally:
                os.close(found)

    def chown(self, path: str, owner: tuple[int, int]) -> None:
        """Give one thing (a link itself, not what it leads to) to `owner` (uid, gid)."""
        with _named(path), self._parent(path) as (folder, name):
            os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)

    def rename(self, old: str, new: str) -> None:
        """Put `old` in the place of `new`, at once. Both are entries themselves: a link is moved, or replaced."""
        with _named(old), self._parent(old) as (source, name), self._parent(new) as (target, new_name):
            os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)

    def remove(self, path: str) -> None:
        """Remove one file, link, fifo or empty folder. Nothing there: nothing to do."""
        with _named(path), contextlib.suppress(FileNotFoundError), self._parent(path) as (folder, name):
            try:
                os.unlink(name, dir_fd=folder)
            except IsADirectoryError:
                os.rmdir(name, dir_fd=folder)

    def remove_tree(self, path: str) -> None:
        """Remove whatever is at `path` with all that lies below it, as `delete_folder` does; "/" empties the root."""
        with _named(path):
            if not path.strip("/."):
                top = _reopen(os.dup(self._root), os.O_RDONLY | os.O_DIRECTORY)
                try:
                    _empty(top)
                finally:
                    os.close(top)
                return
            with contextlib.suppress(FileNotFoundError), self._parent(path) as (folder, name):
                _delete(folder, name)

    @contextlib.contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The folder that holds `path`, as a descriptor to be used with the name, which is one plain part."""
        above, _, name = path.rstrip("/").rpartition("/")
        if name in {"", ".", ".."} or "\0" in name:
            raise OSError(errno.EINVAL, "names no entry of a folder")
        folder = self._find(above or "/")
        try:
            yield folder, name
        finally:
            os.close(folder)

    def _find(self, path: str, *, follow: bool = True) -> int:
        """A descriptor (O_PATH) of what is at `path`. The one place where paths are resolved."""
        flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        asked = os.fsencode(path.rstrip("/") or "/")
        if not self._openat2 or len(asked) >= _PATH_MAX:
            return self._walk(path, follow=follow)
        for _ in range(100):
            try:
                return _openat2(self._root, asked, flags)
            except BlockingIOError:
                pass  # EAGAIN: something was renamed while the kernel stood on a ".."
        raise OSError(errno.EBUSY, "changes faster than it can be looked at")

    def _walk(self, path: str, *, follow: bool) -> int:
        """What openat2 does, part by part. For ".." and links it starts again from the root, so it keeps one descriptor."""
        todo = path.split("/")[::-1]
        trail: list[str] = []
        links = 0
        here = os.dup(self._root)
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
                    if links > _LINKS_MAX:
                        break
                    todo.extend(target.split("/")[::-1])
                    if not target.startswith("/"):
                        continue  # it begins in the folder where we stand
                    trail.clear()
                todo.extend(reversed(trail))
                trail.clear()
                os.close(here)
                here = os.dup(self._root)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        finally:
            if here >= 0:
                os.close(here)


def delete_folder(folder: Path) -> None:
    """Remove a folder of ours (not through a link in the last part of its name) with all that lies below it.

    Takes what hostile programs leave: folders without permissions, any depth, any number of entries, entries that come
    and go meanwhile. Other file systems mounted below are not touched: then, as with all that cannot be removed, the
    rest goes first and an OSError names what is left. A folder that is not there is no error.
    """
    with contextlib.suppress(FileNotFoundError), Inside(folder.parent) as above:
        above.remove_tree(folder.name)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """The system's errors name descriptors and parts; ours name the path that was asked for."""
    try:
        yield
    except OSError as error:
        if error.filename == path:
            raise
        raise OSError(error.errno, error.strerror, path) from error


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


def _reopen(found: int, flags: int) -> int:
    """Open what an O_PATH descriptor stands for, once it is known to be no device or pipe; closes the descriptor."""
    flags = flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        there = os.fstat(found)
        wants_folder = flags & os.O_DIRECTORY
        if wants_folder and not stat.S_ISDIR(there.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, f"is {kind(there.st_mode)}, not a folder")
        if not wants_folder and not stat.S_ISREG(there.st_mode):
            code = errno.EISDIR if stat.S_ISDIR(there.st_mode) else errno.ENXIO
            raise OSError(code, f"is {kind(there.st_mode)}, not a file")
        name = f"/proc/self/fd/{found}"
        try:
            return os.open(name, flags)
        except PermissionError:
            if there.st_uid != os.geteuid():
                raise
            os.chmod(name, stat.S_IMODE(there.st_mode) | (0o700 if wants_folder else 0o600))
            return os.open(name, flags)
    finally:
        os.close(found)


def _delete(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=folder)
            return
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise  # EBUSY: another file system is mounted here
        for _ in range(100):
            top = _open_for_removal(name, folder)
            try:
                _empty(top)
            finally:
                os.close(top)
            try:
                os.rmdir(name, dir_fd=folder)
                return
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
                # Something was made in it while we looked.
        raise OSError(errno.ENOTEMPTY, "is filled faster than it can be emptied") from None


def _empty(top: int) -> None:
    """Remove all that lies below a folder, with one open descriptor at a time and no recursion.

    A folder's folders are moved up into `top` before it goes, so no path grows long, whatever the depth. A place where
    another file system is mounted can be neither moved nor removed, so it is never entered.
    """
    token = f".deleting-{os.urandom(8).hex()}-"
    numbers = itertools.count()
    left: list[OSError] = []
    pending = _strip(top, left)
    patience = 1000
    while pending:
        name = pending.pop()
        try:
            folder = _open_for_removal(name, top)
        except FileNotFoundError:
            continue
        except OSError as error:
            left.append(error)
            continue
        before = len(left)
        try:
            for inner in _strip(folder, left):
                moved = f"{token}{next(numbers)}"
                try:
                    os.rename(inner, moved, src_dir_fd=folder, dst_dir_fd=top)
                except PermissionError:
                    os.close(_open_for_removal(inner, folder))  # to move a folder one must be able to write to it
                    os.rename(inner, moved, src_dir_fd=folder, dst_dir_fd=top)
                pending.append(moved)
        except OSError as error:
            left.append(error)
        finally:
            os.close(folder)
        try:
            os.rmdir(name, dir_fd=top)
        except FileNotFoundError:
            pass
        except OSError as error:
            if len(left) > before or patience == 0:
                left.append(error)
            else:
                patience -= 1
                pending.append(name)  # something was made in it while we looked
    if left:
        raise left[0]


def _strip(folder: int, left: list[OSError]) -> list[str]:
    """Remove all of a folder but the folders that are not empty; return their names."""
    full = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=folder)
                    continue
                os.rmdir(entry.name, dir_fd=folder)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR}:
                    full.append(entry.name)
                else:
                    left.append(error)
    return full


def _open_for_removal(name: str, folder: int) -> int:
    """Open a folder so that its entries can be listed and removed, whatever its mode."""
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        path = f"/proc/self/fd/{found}"
        if os.fstat(found).st_mode & 0o700 != 0o700:
            os.chmod(path, 0o700)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(found)
