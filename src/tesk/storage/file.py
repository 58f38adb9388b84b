"""`file://` and plain absolute paths: only below folders that the caller may use, whatever links say."""

import contextlib
import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple

from tesk.errors import TransferError, TransferFailed, TransferRefused
from tesk.inside import whole_file
from tesk.settings import FileRoot, StorageSettings
from tesk.storage.scheme import Advance, Arrived, Entry
from tesk.storage.url import below, path_of, shown
from tesk.tes.task import FileType

_FICLONE = 0x40049409
_CHUNK = 64 * 1024 * 1024  # what moves between two looks at whether it is still wanted
_BLOCK_BYTES = 512  # st_blocks counts in these, whatever the file system
_CANNOT = {
    errno.EXDEV,
    errno.ENOSYS,
    errno.EINVAL,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.ENOTTY,
    errno.EBADF,
    errno.ETXTBSY,
}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Root(NamedTuple):
    """A folder that this caller may use: as it was named, and where it really is."""

    named: str
    real: str
    write: bool
    hidden: bool


def for_caller(settings: StorageSettings, caller: str) -> "FileScheme":
    """Build the scheme that `caller` gets."""
    roots = tuple(root for root in settings.file_roots or () if not root.callers or caller in root.callers)
    return FileScheme(roots, denied=settings.file_denied, reflink=settings.file_reflink)


class FileScheme:
    """Files of this host.

    A path is opened first and then looked at: the kernel says where the thing that is open really lies, so a link that is
    changed meanwhile changes nothing. Links may lead to any place below the roots, and to none outside. `denied` are
    paths that stay closed though they lie below a root.
    """

    has_folders: ClassVar[bool] = True

    def __init__(self, roots: tuple[FileRoot, ...], *, denied: tuple[str, ...] = (), reflink: bool = True) -> None:
        named = [(os.path.normpath(os.path.expanduser(root.path)), root) for root in roots]
        self._roots = [Root(path, os.path.realpath(path), root.write, root.hidden) for path, root in named]
        closed = [os.path.abspath(os.path.expanduser(path)) for path in denied]
        self._denied = [*closed, *map(os.path.realpath, closed)]  # a link, too, is not to be replaced
        self._reflink = reflink

    def close(self) -> None:
        """Nothing is kept open."""

    def stat(self, url: str) -> Entry | None:
        path = path_of(url)
        try:
            with self._look(path, url) as (_, found):
                return _entry(url, "", found, path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _told(error, url) from error

    def list(self, url: str) -> Iterator[Entry]:
        pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ())]
        top = path_of(url)
        while pending:
            inner, above = pending.pop()
            folder = os.path.join(top, inner) if inner else top
            try:
                with self._look(folder, url) as (fd, found):
                    if not stat.S_ISDIR(found.st_mode):
                        raise TransferRefused(f"{shown(url)}: is a file, not a folder; its type is FILE")
                    here = (*above, (found.st_dev, found.st_ino))
                    really = os.readlink(f"/proc/self/fd/{fd}")
                    names = sorted(os.listdir(f"/proc/self/fd/{fd}"))
                for name in names:
                    path = os.path.join(folder, name)
                    relative = os.path.join(inner, name)
                    if not os.path.islink(path) and not self._may(f"{really}/{name}", write=False):
                        continue  # hidden: as if it were not there
                    with self._look(path, url) as (_, found):
                        entry = _entry(below(url, relative), relative, found, path)
                        if entry.type is FileType.DIRECTORY:
                            if (found.st_dev, found.st_ino) in here:
                                raise TransferRefused(
                                    f"{shown(url)}: the link {shown(relative)} leads back to a folder above it"
                                )
                            pending.append((relative, here))
                    yield entry
            except OSError as error:
                raise _told(error, url) from error

    def get(self, url: str, target: int, advance: Advance) -> Arrived:
        path = path_of(url)
        try:
            with self._look(path, url) as (fd, found):
                if _entry(url, "", found, path).type is FileType.DIRECTORY:
                    raise TransferRefused(f"{shown(url)}: is a folder, not a file; its type is DIRECTORY")
                source = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                size = copy(source, target, advance, reflink=self._reflink)
            finally:
                os.close(source)
        except OSError as error:
            raise _told(error, url) from error
        if size < found.st_size:
            raise TransferFailed(f"{shown(url)}: became shorter while it was read ({size} of {found.st_size} bytes)")
        return Arrived(size_bytes=size, mode=stat.S_IMODE(found.st_mode))

    def put(self, source: int, url: str, advance: Advance) -> Arrived:
        folder_path, name = os.path.split(path_of(url))
        if not name:
            raise TransferRefused(f"{shown(url)}: names no file")
        beside = f".tesk-{os.urandom(8).hex()}.part"
        try:
            with self._folder(folder_path, url, name) as folder:
                # As `cp` does: the mode that the executors gave it, less what the umask takes; its owner may change it.
                mode = 0o600 | os.fstat(source).st_mode & 0o777
                # A task is COMPLETE only when that survives a loss of power; so must what it made.
                with whole_file(folder, name, mode, beside=beside, durable=True) as target:
                    size = copy(source, target, advance, reflink=self._reflink)
                _sync_folder(folder)
        except OSError as error:
            raise _told(error, url) from error
        return Arrived(size_bytes=size)

    def make_directory(self, url: str) -> None:
        try:
            with self._folder(path_of(url), url, ""):
                pass
        except OSError as error:
            raise _told(error, url) from error

    def make_directory_as(self, url: str, mode: int) -> None:
        try:
            with self._folder(path_of(url), url, "", mode=0o700 | mode & 0o777):
                pass
        except OSError as error:
            raise _told(error, url) from error

    def check_root(self, url: str, *, write: bool) -> None:
        path = path_of(url)
        # Only of outputs may the folder be above the root: what is read is looked at itself.
        below = write and any(
            root.write and (_lies_in(root.named, path) or _lies_in(root.real, path)) for root in self._roots
        )
        if not below and not self._may(path, write=write):
            raise self._refused(url, write=write)

    @contextlib.contextmanager
    def _look(self, path: str, url: str) -> Iterator[tuple[int, os.stat_result]]:
        """What is at `path`, as a descriptor that reads nothing yet (O_PATH), and its status; refused outside the roots."""
        if not self._may(path, write=False):
            raise self._refused(url, write=False)
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not self._may(os.readlink(f"/proc/self/fd/{fd}"), write=False):
                raise self._refused(url, write=False)
            yield fd, os.fstat(fd)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _folder(self, path: str, url: str, name: str, *, mode: int = 0o777) -> Iterator[int]:
        """A folder for writing, made (with `mode`) with its parents, as a descriptor. Nothing is made outside the roots."""
        if not self._may(os.path.join(path, name), write=True):
            raise self._refused(url, write=True)
        for root in self._roots:
            if root.write and _lies_in(path, root.named):
                os.makedirs(root.named, exist_ok=True)
        missing: list[str] = []
        while True:
            try:
                folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                break
            except FileNotFoundError:
                path, last = os.path.split(path)
                missing.insert(0, last)
        try:
            really = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), *missing, name)
            if not self._may(really, write=True):
                raise self._refused(url, write=True)
            for left, part in enumerate(missing, 1 - len(missing)):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o777 if left else mode, dir_fd=folder)
                deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                os.close(folder)
                folder = deeper
            yield folder
        finally:
            os.close(folder)

    def _may(self, path: str, *, write: bool) -> bool:
        if any(_lies_in(path, denied) for denied in self._denied):
            return False
        return any(
            (root.write or not write)
            and any(
                _lies_in(path, place) and (root.hidden or not _hides(path, place, write=write))
                for place in {root.named, root.real}
            )
            for root in self._roots
        )

    def _refused(self, url: str, *, write: bool) -> TransferRefused:
        named = ", ".join(sorted({root.named for root in self._roots if root.write or not write})) or "none"
        verb = "write" if write else "read"
        return TransferRefused(
            f"{shown(url)}: tasks may not {verb} here; they may {verb} below: {named} (setting storage.file_roots)"
        )


def copy(source: int, target: int, advance: Advance, *, reflink: bool) -> int:
    """Copy an open regular file into an empty one by the quickest way that these file systems have; return its size in bytes."""
    there = os.fstat(source)
    size = there.st_size
    if reflink and size:
        with contextlib.suppress(OSError):
            fcntl.ioctl(target, _FICLONE, source)
            advance(size)
            return size
    done = 0
    if there.st_blocks * _BLOCK_BYTES < size:
        # Holes stay holes: a file of a terabyte is made in no time, and would fill the disk.
        for begin, end in _extents(source):
            _move(source, target, advance, begin, end)
        os.ftruncate(target, size)
        done = size
    return _move(source, target, advance, done, sys.maxsize)


def _extents(source: int) -> Iterator[tuple[int, int]]:
    """Yield where there is data in a file, from (included) and to (not included)."""
    end = 0
    while True:
        try:
            begin = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(source, begin, os.SEEK_HOLE)
        yield begin, end


def _move(source: int, target: int, advance: Advance, done: int, end: int) -> int:
    """Copy from `done` to `end`, or to the end of the file where that comes first; return how far it came."""
    # Each way goes on where the one before had to stop. An end of file is believed only from the last, plain one:
    # files of /proc and some FUSE file systems show it to the quicker ones too early.
    ways: tuple[Callable[[int, int, int, int], int], ...] = (_by_range, _by_sendfile, _by_hand)
    for way in ways:
        try:
            while moved := way(source, target, done, min(end - done, _CHUNK)):
                done += moved
                advance(moved)
        except OSError as error:
            if error.errno not in _CANNOT or way is _by_hand:
                raise
    return done


def _by_range(source: int, target: int, done: int, most: int) -> int:
    return os.copy_file_range(source, target, most, done, done)


def _by_sendfile(source: int, target: int, done: int, most: int) -> int:
    os.lseek(target, done, os.SEEK_SET)
    return os.sendfile(target, source, done, most)


def _by_hand(source: int, target: int, done: int, most: int) -> int:
    data = memoryview(os.pread(source, min(most, 1024 * 1024), done))
    written = 0
    while written < len(data):
        written += os.pwrite(target, data[written:], done + written)
    return written


def _entry(url: str, name: str, found: os.stat_result, path: str) -> Entry:
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISDIR(found.st_mode):
        return Entry(url=url, name=name, type=FileType.DIRECTORY, mode=mode)
    if stat.S_ISREG(found.st_mode):
        return Entry(url=url, name=name, type=FileType.FILE, size_bytes=found.st_size, mode=mode)
    raise TransferRefused(f"{shown(path)}: is neither a file nor a folder (a pipe, a socket or a device)")


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _hides(path: str, folder: str, *, write: bool) -> bool:
    # Git runs what lies in the `.git` of any project that somebody works in. Other dot entries further down are data.
    inner = path[len(folder.rstrip("/")) + 1 :]
    return inner.startswith(".") or (write and ".git" in inner.split("/"))


def _sync_folder(folder: int) -> None:
    with contextlib.suppress(OSError):  # some network file systems have no such thing
        os.fsync(folder)


def _told(error: OSError, url: str) -> TransferError:
    """The system's error as a sentence, and whether another time could be better."""
    if error.errno in _FULL:
        return TransferFailed(f"{shown(url)}: the disk is full ({error.strerror})")
    if error.errno in {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR, errno.EMFILE, errno.ENFILE}:
        return TransferFailed(f"{shown(url)}: {error.strerror}")
    if error.errno == errno.ENOENT:
        return TransferRefused(f"{shown(url)}: there is no such file (a link may lead nowhere)")
    return TransferRefused(f"{shown(url)}: {error.strerror}")
