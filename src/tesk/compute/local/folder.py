"""The folders of attempts on this machine: whose they are, what runs in them, and how another server takes one over.

server                      who works here, or did last
attempts/<attempt>/owner    locked by the server that runs it, and who that is; then the processes that it started
attempts/<attempt>/root     stands for the task's `/`
attempts/<attempt>/own      what is each executor's own: 0/tmp, 0/home
spare/...                   a folder of an attempt that left nothing in it, for another one
gone/<attempt>              this attempt was taken over; whoever comes late starts nothing of it
trash/...                   on its way out
"""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from tesk.compute.backend import AttemptId, named
from tesk.compute.local.pristine import Nature, empty_nature
from tesk.compute.machine.processes import Process
from tesk.inside import delete_folder

_GONE_SECONDS = 86400.0
_SPARES = 32
_WAY = 0o711
"""What the executors' user may go through, and nobody list, whatever the umask of the server is."""


class Owner(Struct, frozen=True, kw_only=True):
    """Who runs an attempt: the server's process, the process namespace that its ids count in, and what it started."""

    server: Process
    namespace: int
    processes: tuple[Process, ...] = ()


class Lost(Exception):  # noqa: N818  it is no error of anybody's
    """Another server has taken this attempt over."""


class Folders:
    """All attempts below one work folder. `folders` of attempts are root's, or the server's own user's."""

    def __init__(self, work: Path) -> None:
        self._server = work / "server"
        self.attempts = work / "attempts"
        self._gone = work / "gone"
        self._trash = work / "trash"
        self._spare = work / "spare"
        self._spares: list[str] = []
        self._fresh: Nature | None = None

    def prepare(self) -> None:
        """Make what is not there, remove what an earlier server began to remove, and forget old takeovers."""
        for folder in (self.attempts, self._gone, self._trash, self._spare):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.attempts.parent, self.attempts):
            folder.chmod(_WAY)
        self.close()
        for entry in self._trash.iterdir():
            self.discard(entry)
        self.forget_takeovers()

    def forget_takeovers(self) -> None:
        """Remove the marks of takeovers that are a day old: who comes so late has lost its lease, and starts nothing."""
        for entry in self._gone.iterdir():
            if entry.stat().st_mtime < time.time() - _GONE_SECONDS:
                entry.unlink(missing_ok=True)

    def serve(self, us: Owner) -> None:
        """Write down who works here from now on."""
        written = self._server.with_name(f"server.{us.server.pid}")
        written.write_bytes(msgspec.json.encode(us))
        written.rename(self._server)

    def server(self) -> Owner | None:
        """Return who works here, or did last; None where nobody wrote it down."""
        return _read_owner(self._server)

    def path(self, attempt: AttemptId) -> Path:
        """Where an attempt's folder is, or would be."""
        return self.attempts / str(attempt)

    def existing(self) -> Iterator[AttemptId]:
        """Yield the attempts that have a folder."""
        for name in os.listdir(self.attempts):
            if (attempt := named(name)) is not None:
                yield attempt

    def create(self, attempt: AttemptId, owner: Owner, user: tuple[int, int] | None) -> "Folder":
        """Make an attempt's folder, ours. Raises FileExistsError where it is there, Lost where it was taken over before."""
        path = f"{self.attempts}/{attempt}"
        again = self._use_again(path, owner)
        if again is None:
            os.mkdir(path)
            os.chmod(path, _WAY)
        folder = again or Folder(path, owner)
        # A server that takes over leaves its mark first and then looks for a folder; we do it the other way round.
        if os.path.exists(f"{self._gone}/{attempt}"):
            folder.close()
            self.remove(attempt)
            raise Lost
        if again is None:
            for part in (folder.root, folder.own, *step_folders(folder.own, 0)):
                os.mkdir(part, 0o700)
                if user is not None:
                    os.chown(part, *user)
            if self._fresh is None:
                self._fresh = empty_nature(folder.root)
        return folder

    def _use_again(self, path: str, owner: Owner) -> "Folder | None":
        """Rename a spare folder to `path`; None where there is none."""
        try:
            spare = self._spares.pop()
        except IndexError:
            return None
        try:
            folder = Folder(spare, owner, new=False)
        except OSError:  # a server that started since has cleaned up
            return None
        try:
            _, *seen = step_folders(spare + "/own", 0)
            for part in seen:
                os.utime(part)
            os.rename(spare, path)
        except OSError:
            folder.close()
            raise
        folder.move(path)
        return folder

    def put_away(self, attempt: AttemptId, *, alone: bool) -> bool:
        """Keep the folder of an attempt of ours that is over for another where nothing was left in it; say whether it is gone.

        `alone`: it had one executor, and we ourselves left nothing in it. Making and removing a handful of folders is dear: some file systems look for room at length.
        """
        path = f"{self.attempts}/{attempt}"
        if alone and len(self._spares) < _SPARES and self._is_as_new(path):
            spare = f"{self._spare}/{attempt}"
            os.rename(path, spare)
            self._spares.append(spare)
            return True
        return _remove_empty(path)

    def _is_as_new(self, path: str) -> bool:
        _, *seen = step_folders(path + "/own", 0)
        try:
            return not os.listdir(path + "/root") and all(empty_nature(part) == self._fresh for part in seen)
        except OSError:
            return False

    def close(self) -> None:
        """Remove the spare folders, those of dead servers, too."""
        self._spares.clear()
        for entry in self._spare.iterdir():
            self.discard(entry)

    def mark_gone(self, attempt: AttemptId) -> None:
        """From here on no other server starts anything of this attempt."""
        os.close(os.open(self._gone / str(attempt), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def owner(self, attempt: AttemptId) -> Owner | None:
        """Return what its server last wrote, None where it wrote nothing yet or there is no folder."""
        return self.read_owner(self.path(attempt))

    def read_owner(self, folder: Path) -> Owner | None:
        """Return what the server of an attempt last wrote in its folder, wherever that is now."""
        return _read_owner(folder / "owner")

    def is_held(self, attempt: AttemptId) -> bool:
        """Say whether a server that lives (or is stopped) holds the attempt's lock."""
        try:
            fd = os.open(self.path(attempt) / "owner", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def take_away(self, attempt: AttemptId) -> Path | None:
        """Move an attempt's folder to where nobody starts anything in it; None where there is none."""
        away = self._trash / f"{attempt}.{secrets.token_hex(8)}"
        try:
            os.rename(self.path(attempt), away)
        except FileNotFoundError:
            return None
        return away

    def taken_away(self) -> set[AttemptId]:
        """Return the attempts whose folders were taken away and are not removed yet."""
        names = os.listdir(self._trash) if self._trash.exists() else []
        return {attempt for name in names if (attempt := named(name.rpartition(".")[0])) is not None}

    def remove(self, attempt: AttemptId) -> None:
        """Remove an attempt's folder with all that is in it, also what is hostile. Takes as long as it takes."""
        if (away := self.take_away(attempt)) is not None:
            self.discard(away)

    def discard(self, away: Path) -> None:
        """Remove a folder that was taken away, and what its attempt made elsewhere."""
        if _remove_empty(str(away)):
            return
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            for made in msgspec.json.decode((away / "made").read_bytes(), type=list[str]):
                delete_folder(Path(made))
        delete_folder(away)


def _read_owner(path: Path) -> Owner | None:
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode(path.read_bytes(), type=Owner)
    return None


def step_folders(own: str, index: int) -> tuple[str, str, str]:
    """Where an executor's own folders are: all of it, its `/tmp`, its home."""
    return f"{own}/{index}", f"{own}/{index}/tmp", f"{own}/{index}/home"  # noqa: S108  not the machine's


def _remove_empty(path: str) -> bool:
    """Remove the folder of an attempt that left no file, which most do; say whether nothing of it is left.

    Every name but the last of each path was given by us, in folders that no executor can write; the last is followed
    by none of these calls.
    """
    try:
        os.rmdir(f"{path}/root")
        for step in os.listdir(f"{path}/own"):
            os.rmdir(f"{path}/own/{step}/tmp")  # noqa: S108  not the machine's
            os.rmdir(f"{path}/own/{step}/home")
            os.rmdir(f"{path}/own/{step}")
        os.rmdir(f"{path}/own")
        os.unlink(f"{path}/owner")
        os.rmdir(path)
    except OSError:
        return False
    return True


class Folder:
    """One attempt's folder, held by this server."""

    def __init__(self, path: str, owner: Owner, *, new: bool = True) -> None:
        self.move(path)
        self._owner = owner
        flags = os.O_CREAT | os.O_EXCL if new else 0
        self._lock = os.open(path + "/owner", os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
        self._inode = os.fstat(self._lock).st_ino
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._write()

    def move(self, path: str) -> None:
        """It was renamed to `path`."""
        self.path = path
        self.root = path + "/root"
        self.own = path + "/own"

    def add(self, *processes: Process) -> None:
        """Write down what runs now, before it does anything. Raises Lost where the folder was taken over."""
        self.check()
        self._owner = msgspec.structs.replace(self._owner, processes=processes)
        self._write()

    def will_make(self, paths: Iterable[str]) -> None:
        """Write down those of the machine's paths that are not there: made for this attempt, they are removed with it."""
        missing = set()
        for path in paths:
            topmost = None
            while not os.path.lexists(path):
                topmost, path = path, os.path.dirname(path)  # noqa: PLW2901  up, step by step
            if topmost is not None:
                missing.add(topmost)
        Path(self.path, "made").write_bytes(msgspec.json.encode(sorted(missing)))

    def check(self) -> None:
        """Raise Lost where another server has taken the folder over."""
        try:
            if os.stat(self.path + "/owner").st_ino == self._inode:
                return
        except FileNotFoundError:
            pass
        raise Lost

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._lock)

    def _write(self) -> None:
        # One short write over the old one; what is longer in the old one is blank in the new.
        os.pwrite(self._lock, msgspec.json.encode(self._owner).ljust(512), 0)
