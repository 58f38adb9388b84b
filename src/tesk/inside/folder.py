"""One folder and what lies below it, the face of this room: open, list, make, delete.

Executors write what they like below their task's folder: links to `/etc`, fifos, devices, folders that nobody may open.
Every path here is the task's own: `/data/x` and `data/x` are both `<root>/data/x`, a link to `/etc/passwd` leads to
`<root>/etc/passwd`, and `..` at the root stays there. Names that are no UTF-8 are `str` with surrogates, as in `os`.
What goes wrong is an OSError that carries the path as it was asked for.
"""

import contextlib
import errno
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tesk.inside.delete import delete, empty
from tesk.inside.resolve import LINKS_MAX, Root
from tesk.inside.whole import whole_file

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Found(NamedTuple):
    """One entry of a folder, itself (a link is not followed)."""

    name: str
    stat: os.stat_result


def kind(mode: int) -> str:
    """Say in words what a file of this `st_mode` is."""
    return _KINDS.get(stat.S_IFMT(mode), "a file")


class Inside:
    """One folder, `root`, and what lies below it. Safe from many threads; close it, or use it in a `with`.

    `openat2` False: by our own way, also where the kernel has one.
    """

    def __init__(self, root: Path, *, openat2: bool = True) -> None:
        self._root = Root(root, openat2=openat2)

    def close(self) -> None:
        """Let go of the folder."""
        self._root.close()

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
            for _ in range(LINKS_MAX):
                if flags & os.O_EXCL == 0:
                    try:
                        found = self._root.find(wanted, follow=flags & os.O_NOFOLLOW == 0)
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

    @contextlib.contextmanager
    def new_file(self, path: str, mode: int = 0o666) -> Iterator[int]:
        """Give a new regular file that gets its name when the block ends well: whole or not at all, whoever is killed.

        What is at `path` is replaced, a link itself, but no folder. Where the file system has no files without names it
        is made under another name beside `path`, always the same one.
        """
        with _named(path), self._parent(path) as (folder, name):
            beside = f".tesk-{zlib.crc32(os.fsencode(name)):08x}.part"
            with whole_file(folder, name, mode, beside=beside) as made:
                yield made

    @contextlib.contextmanager
    def rewritten(self, path: str) -> Iterator[int]:
        """Give the regular file at `path`, emptied, to be written again; it is half where the block does not end well."""
        with _named(path):
            made = self.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            try:
                yield made
            finally:
                os.close(made)

    def make_pipe(
        self, path: str, owner: tuple[int, int] | None = None, *, mode: int = 0o600, instead: int | None = None
    ) -> int:
        """Make a named pipe of its `owner` (uid, gid) and return it as a descriptor that opens nothing (O_PATH).

        `mode` is what others may, whatever the umask is. `instead`: the one that it takes the place of, as such a descriptor; where that lies there no longer,
        FileNotFoundError. Without it there must be nothing.
        """
        with _named(path), self._parent(path) as (folder, name):
            made = name if instead is None else f".tesk-{zlib.crc32(os.fsencode(name)):08x}.part"
            os.mkfifo(made, 0o600, dir_fd=folder)
            try:
                if owner is not None:
                    os.chown(made, *owner, dir_fd=folder, follow_symlinks=False)
                pipe = os.open(made, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                try:
                    # Itself: an executor may have put a link in its place since.
                    os.chmod(f"/proc/self/fd/{pipe}", mode)
                    if instead is not None:
                        there, old = os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(instead)
                        if (there.st_dev, there.st_ino) != (old.st_dev, old.st_ino):
                            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
                        os.rename(made, name, src_dir_fd=folder, dst_dir_fd=folder)
                except OSError:
                    os.close(pipe)
                    raise
            except OSError:
                os.unlink(made, dir_fd=folder)
                raise
            return pipe

    def find_pipe(self, path: str) -> int:
        """Return the named pipe at `path`, itself, as `make_pipe` does. Raises OSError for anything else."""
        with _named(path):
            found = self._root.find(path, follow=False)
            if not stat.S_ISFIFO(os.fstat(found).st_mode):
                os.close(found)
                raise OSError(errno.ENXIO, "is no named pipe any more")
            return found

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result | None:
        """Look at what is at `path`, or return None where there is nothing (also behind a link that leads nowhere)."""
        with _named(path):
            try:
                found = self._root.find(path, follow=follow)
            except (FileNotFoundError, NotADirectoryError):
                return None
            try:
                return os.fstat(found)
            finally:
                os.close(found)

    def list(self, path: str) -> Iterator[Found]:
        """Yield what is in a folder, in no order. What goes away meanwhile may be missing."""
        with _named(path):
            folder = _reopen(self._root.find(path), os.O_RDONLY | os.O_DIRECTORY)
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
            found = self._root.find(path)
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
                top = _reopen(os.dup(self._root.folder), os.O_RDONLY | os.O_DIRECTORY)
                try:
                    empty(top)
                finally:
                    os.close(top)
                return
            with contextlib.suppress(FileNotFoundError), self._parent(path) as (folder, name):
                delete(folder, name)

    @contextlib.contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The folder that holds `path`, as a descriptor to be used with the name, which is one plain part."""
        above, _, name = path.rstrip("/").rpartition("/")
        if name in {"", ".", ".."} or "\0" in name:
            raise OSError(errno.EINVAL, "names no entry of a folder")
        folder = self._root.find(above or "/")
        try:
            yield folder, name
        finally:
            os.close(folder)


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
