"""The control folder, as the stager sees it: check-ins, turns, locks, ends. What executors left in theirs is hostile.

An executor can write to its own folder alone, and only once it has had its turn. Nothing in there is opened but regular
files, none of them is followed as a link, and of each only so much is read as it may have.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from msgspec import DecodeError, json

from tesk.inside import Inside, whole_file
from tesk.pod import RUN, SKIP, CheckIn, InputsEnd, PodJob, ShimStatus
from tesk.stager.pod.changes import wait_until
from tesk.tes import tails

_OPEN_FOLDER, _OPEN_FILE = 0o777, 0o666
_STATUS_BYTES = 256 * 1024
"""A status holds at most a sentence that names paths."""

T = TypeVar("T")


class Control:
    """The control folder of the pod that `job` is of. Close it at the end: until then it holds what it locked."""

    def __init__(self, folder: Path, job: PodJob) -> None:
        self._job = job
        self._inputs = folder / "inputs"
        self._executors = [folder / "executors" / str(index) for index in range(len(job.executors))]
        self._held = contextlib.ExitStack()

    def close(self) -> None:
        """Let the locks go."""
        self._held.close()

    def make(self) -> None:
        """Make all folders, as far as the kubelet has not. An executor may be any user."""
        for folder in (self._inputs, *self._executors):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in self._executors:
            with contextlib.suppress(PermissionError):  # the kubelet's, and we are nobody special
                folder.chmod(_OPEN_FOLDER)

    def hold_inputs(self) -> bool:
        """Take the lock of the container `inputs`, which is never seen without its holder. False: somebody has it."""
        with contextlib.suppress(FileNotFoundError):
            return self._lock(self._inputs / "lock")
        with _opened(self._inputs) as folder, whole_file(folder, "lock", 0o600, beside=".lock") as made:
            fcntl.flock(made, fcntl.LOCK_EX)
            self._hold(os.dup(made))
        return True

    def wait_for_inputs(self) -> InputsEnd | None:
        """Return how the container `inputs` ended, once it has; None where it left no word. It cannot run again then."""
        lock = self._inputs / "lock"
        wait_until(lock.exists, [self._inputs])
        self._lock(lock, wait=True)
        return self.inputs_end()

    def inputs_end(self) -> InputsEnd | None:
        """Return what the container `inputs` has said of its end."""
        with Inside(self._inputs) as inside:
            end = _said(inside, "report.json", InputsEnd, 1 << 30)
        return end if end and end.pod == self._job.pod else None

    def end_inputs(self, end: InputsEnd) -> None:
        """Say how the container `inputs` ended."""
        with Inside(self._inputs) as inside:
            _put(inside, "report.json", json.encode(end))

    def wait_for_check_ins(self) -> None:
        """Return when all executors have checked in, however long it takes."""
        missing = set(range(len(self._executors)))

        def all_are_here() -> bool:
            for index in [*missing]:
                with Inside(self._executors[index]) as inside:
                    here = _said(inside, "here", CheckIn, _STATUS_BYTES)
                if here == CheckIn(pod=self._job.pod, index=index):
                    missing.discard(index)
            return not missing

        wait_until(all_are_here, self._executors)

    def give_turn(self, index: int, *, run: bool) -> None:
        """Tell an executor that it is its turn, and what to do. The first word stands."""
        with Inside(self._executors[index]) as inside:
            if inside.stat("turn", follow=False) is None:
                _put(inside, "turn", f"{RUN if run else SKIP}\n".encode())

    def wait_for_executor(self, index: int) -> None:
        """Return when the shim of an executor is gone, which has checked in. It cannot run again then.

        A program that has taken the lock away has ended as far as we can know.
        """
        with contextlib.suppress(OSError), Inside(self._executors[index]) as inside:
            lock = inside.open("lock", os.O_RDONLY | os.O_NOFOLLOW)
            fcntl.flock(self._hold(lock), fcntl.LOCK_EX)

    def status(self, index: int) -> ShimStatus | None:
        """Return how an executor ended, as its shim says; None where there is no word that can be true."""
        with Inside(self._executors[index]) as inside:
            status = _said(inside, "status.json", ShimStatus, _STATUS_BYTES)
        ours = status and (status.pod, status.index) == (self._job.pod, index)
        return status if status and ours and 0 <= (status.exit_code or 0) <= 255 else None

    def began(self, index: int) -> float | None:
        """Return when the program of an executor began (seconds since the epoch), None where it did not."""
        with Inside(self._executors[index]) as inside:
            begun = inside.stat("begun", follow=False)
        return begun and begun.st_mtime

    def tail(self, index: int, stream: str) -> str:
        """Return the end of a stream, from the pair of files of which the full one is the older."""
        size = self._job.executors[index].tail_bytes
        with Inside(self._executors[index]) as inside:
            first, second = (_read(inside, f"{stream}.{number}", size) or b"" for number in (0, 1))
        older, newer = (second, first) if len(second) >= size else (first, second)
        kept = older + newer
        return tails.text(kept[-size:] if size else b"", cut=len(older) >= size)

    def _lock(self, path: Path, *, wait: bool = False) -> bool:
        lock = self._hold(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def _hold(self, file: int) -> int:
        self._held.callback(os.close, file)
        return file


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _put(inside: Inside, name: str, data: bytes) -> None:
    with inside.new_file(name, _OPEN_FILE) as made:
        left = memoryview(data)
        while left:
            left = left[os.write(made, left) :]
        # Whatever the umask is, the shim may be any user.
        os.fchmod(made, _OPEN_FILE)


def _said(inside: Inside, name: str, kind: type[T], most_bytes: int) -> T | None:
    data = _read(inside, name, most_bytes)
    try:
        return json.decode(data, type=kind) if data else None
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _read(inside: Inside, name: str, most_bytes: int) -> bytes | None:
    """Return the beginning of a regular file; None where there is none."""
    try:
        file = inside.open(name, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with open(file, "rb") as opened:
        return opened.read(most_bytes)
