"""One executor's container as its shim sees it: a control folder, a job, and a stager that writes turns."""

import contextlib
import fcntl
import gzip
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from fakes.served import until
from fakes.shim import shim
from tesk.pod import ShimJob, ShimStatus

TAILS = ("stdout.0", "stdout.1", "stderr.0", "stderr.1")
FIRST_PROCESS = ("--die-with-parent", "--unshare-pid", "--as-pid-1", "--dev-bind", "/", "/", "--proc", "/proc")
"""For bubblewrap: nothing is hidden, but the shim is the first process of its namespace, as in a container."""


class Executor:
    """One executor. `sandbox`: arguments for bubblewrap, which then starts the shim; none: it is started as any program is."""

    def __init__(self, folder: Path, *command: str, sandbox: tuple[str, ...] = (), packed: bool = True, **job: object):
        if sandbox and shutil.which("bwrap") is None:
            pytest.skip("bubblewrap is not installed: scripts/install-test-needs")
        self.folder = folder
        self.control = folder / "control"
        self.control.mkdir()
        self.control.chmod(0o777)
        self.told = msgspec.convert(
            {"tesk": "executor/1", "pod": "uid", "index": 0, "command": command, **job}, ShimJob
        )
        text = msgspec.json.encode(self.told)
        self.job = folder / "job"
        self.job.write_bytes(gzip.compress(text) if packed else text)
        self._sandbox = sandbox
        self.first_process = "--as-pid-1" in sandbox
        self._started: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdout: int = subprocess.PIPE,
        before: tuple[str, ...] = (),
    ) -> "subprocess.Popen[bytes]":
        """Start a shim, which `before` may start in its turn; it ends with the test. `arguments` in the place of the usual ones."""
        command = [*before, *(("bwrap", *self._sandbox) if self._sandbox else ())]
        paths = arguments or ("run", "--control", str(self.control), "--job", str(self.job))
        process = subprocess.Popen(
            [*command, str(shim()), *paths],
            env=None if env is None else {"PATH": os.environ["PATH"], **env},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        self._started.append(process)
        return process

    def start_within(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a command in the sandbox, which has nothing of this machine but what its arguments say."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(["bwrap", *self._sandbox, *command], **streams)
        self._started.append(process)
        return process

    def pid(self, process: "subprocess.Popen[bytes]") -> int:
        """Return the process id of a shim that has checked in."""
        if not self._sandbox:
            return process.pid
        return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())

    def wait_for(self, name: str) -> None:
        """Return when a file stands in the control folder."""
        until((self.control / name).exists)

    def turn(self, word: str) -> None:
        """Say whose turn it is, as the stager does."""
        (self.control / ".turn").write_text(word + "\n")
        (self.control / ".turn").rename(self.control / "turn")

    def run(self, **options: object) -> ShimStatus:
        """Let the executor have its turn, to its end. The shim ends with the code that it writes down."""
        process = self.start(**options)  # type: ignore[arg-type] # handed on
        self.wait_for("here")
        self.turn("run")
        self.stdout, self.stderr = process.communicate(timeout=60)
        status = self.status()
        assert process.returncode == (125 if status.exit_code is None else status.exit_code), self.stderr
        return status

    def status(self) -> ShimStatus:
        status = msgspec.json.decode((self.control / "status.json").read_bytes(), type=ShimStatus)
        assert (status.pod, status.index) == (self.told.pod, self.told.index)
        return status

    def tail(self, stream: str) -> bytes:
        """Return the last bytes of a stream, as docs/shim.md says how to read them."""
        first, second = ((self.control / f"{stream}.{number}").read_bytes() for number in (0, 1))
        keep = self.told.tail_bytes
        assert max(len(first), len(second)) <= keep
        assert min(len(first), len(second)) < keep, "which is the newer one?"
        return (second + first if len(second) == keep else first + second)[-keep:]

    def is_locked(self) -> bool:
        with (self.control / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.control.iterdir()}

    def end(self) -> None:
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.communicate(timeout=30)


class Living:
    """Who has this pipe open for writing lives."""

    def __init__(self, path: Path, reader: int) -> None:
        self.path = path
        self._reader = reader

    def anybody(self) -> bool:
        return not self.nobody()

    def nobody(self) -> bool:
        try:
            return os.read(self._reader, 1) == b""
        except BlockingIOError:
            return False


@contextlib.contextmanager
def living(path: Path) -> Iterator[Living]:
    """Make the pipe, and end with it."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield Living(path, reader)
    finally:
        os.close(reader)


@contextlib.contextmanager
def executor(folder: Path, *command: str, **options: object) -> Iterator[Executor]:
    """Give an executor, of which nothing is left afterwards."""
    ours = Executor(folder, *command, **options)  # type: ignore[arg-type] # handed on
    try:
        yield ours
    finally:
        ours.end()
