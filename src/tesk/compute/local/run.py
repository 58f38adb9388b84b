"""One executor on this machine, from its first process until nothing of it is left. In the keeper's thread only."""

import contextlib
import errno
import os
import resource
import signal
import time
from collections.abc import Callable

from msgspec import Struct, json

from tesk.compute.local.calls import allowed_calls
from tesk.compute.local.folder import Lost
from tesk.compute.local.keeper import Keeper
from tesk.compute.machine.processes import Process, descendants, first_inside, look_at, send, session
from tesk.compute.machine.spawn import spawn
from tesk.compute.machine.streams import File, Pipe, Written

# The gate of a sandbox is where bubblewrap reads its filter of system calls, to the end, when all is mounted. Should the
# server die, the filter is empty, with which nothing is run. (`--block-fd` would be opened by that.)
_CALLS = allowed_calls()

# What is short now may be there another time.
_PASSING = tuple(os.strerror(code) for code in (errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENFILE))

_REFUSED = b"bwrap: execvp "


class Ended(Struct, frozen=True, kw_only=True):
    """How it went.

    `ran`: there is an exit code that counts; `refused`: that its program could not be executed is all that it says.
    `error`: why it could not be run, a sentence; `again`: another time it might be. None of these where it was killed
    before it began.
    """

    ran: bool = False
    refused: bool = False
    error: str | None = None
    again: bool = False
    exit_code: int = 0
    start_time: float = 0.0
    end_time: float = 0.0
    stdout: Written = Written(b"", 0)
    stderr: Written = Written(b"", 0)


class Launch(Struct, frozen=True, kw_only=True):
    """What is started, and what happens in between. Descriptors are the run's from here on.

    `arguments` are made for the numbers of the descriptors `gate` and `status`; with `own`, a folder, these are its named
    pipes `gate` and `status` instead, which some program in between opens. `passed` are further descriptors that stay
    open. `limits` are set on the first process, as `resource.prlimit` takes them. `begun` is told of the processes that
    hold the others, before the program runs, and may refuse by an OSError or Lost.
    """

    program: str
    arguments: Callable[[int, int], list[str]]
    stdin: int
    stdout: Pipe | File
    stderr: Pipe | File
    limits: tuple[tuple[int, tuple[int, int]], ...]
    begun: Callable[[Process, Process], None]
    own: str | None = None
    passed: tuple[int, ...] = ()
    environment: dict[str, str] = {}
    workdir: str | None = None


class Run:
    """One sandbox. `ended` is called once, when its process namespace is empty and its streams are read to their ends."""

    def __init__(self, keeper: Keeper, launch: Launch, ended: Callable[[Ended], object]) -> None:
        self._keeper = keeper
        self._launch = launch
        self._ended = ended
        # Both may be one file.
        self._streams = tuple(dict.fromkeys((launch.stdout, launch.stderr)))
        self.stdout, self.stderr = launch.stdout, launch.stderr
        self._outer = self._first = 0
        self._first_fd = self._outer_fd = self._gate = self._status = -1
        self._said = b""
        self._exit_code: int | None = None
        self._outer_code: int | None = None
        self._error: str | None = None
        self._start_time = 0.0
        self._killed = self._let_go = self._again = False

    def begin(self) -> None:
        """Start bubblewrap, which waits at the gate."""
        launch = self._launch
        self._start_time = time.time()
        passed: tuple[int, ...] = ()
        try:
            gate, status, passed = self._open_gate()
            if launch.workdir is not None:
                os.chdir(launch.workdir)  # the keeper's own
            self._outer = spawn(
                launch.program,
                launch.arguments(gate, status),
                launch.environment,
                streams=(launch.stdin, launch.stdout.write_fd, launch.stderr.write_fd),
                passed=(*passed, *launch.passed),
            )
        except (OSError, ValueError) as error:
            self._refuse("started", error)
        for fd in (*passed, *launch.passed, launch.stdin):
            os.close(fd)
        for stream in self._streams:
            stream.started()
        if self._outer == 0:
            for fd in (self._status, *(stream.read_fd for stream in self._streams if isinstance(stream, Pipe))):
                if fd >= 0:
                    os.close(fd)
            self._finish()
            return
        self._spawned()
        for stream in self._streams:
            if isinstance(stream, Pipe):
                self._keeper.watch(stream.read_fd, lambda stream=stream: self._on_output(stream))  # type: ignore[misc]  # bound now

    def _open_gate(self) -> tuple[int, int, tuple[int, ...]]:
        """Make the gate and the status; return them for the other side, and which of them it is given."""
        if (own := self._launch.own) is not None:
            for name in ("gate", "status"):
                os.mkfifo(f"{own}/{name}", 0o600)
            self._gate = os.open(f"{own}/gate", os.O_RDWR | os.O_CLOEXEC)
            self._status = os.open(f"{own}/status", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            return -1, -1, ()
        gate, self._gate = os.pipe2(os.O_CLOEXEC)
        try:
            self._status, status = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(gate)
            raise
        os.set_blocking(self._status, False)
        return gate, status, (gate, status)

    def terminate(self) -> None:
        """Ask all processes inside to end (bubblewrap itself would end at once, and kill the others)."""
        if not self._let_go:
            self.kill()
        elif self._first_fd >= 0:
            for pid in [*descendants(self._first)]:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill everything inside, at once."""
        self._killed = True
        if self._first_fd >= 0:
            # The first process of a namespace takes all others with it.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first_fd, signal.SIGKILL)
        elif self._launch.own is not None and self._outer and self._outer_code is None:
            # Without pasta we are told of the first process in a moment, and kill it then; bubblewrap alone would leave it.
            for pid in [*descendants(self._outer), self._outer]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _spawned(self) -> None:
        self._keeper.watch(self._status, self._on_status)
        if self._launch.own is not None:
            # Whoever is in between may end without having opened the status.
            self._outer_fd = os.pidfd_open(self._outer)
            self._keeper.watch(self._outer_fd, self._on_outer_end)

    def _on_status(self) -> None:
        try:
            piece = os.read(self._status, 4096)
        except BlockingIOError:
            return
        if not piece:
            self._keeper.close_watched(self._status)
            self._status = -1
            # Only the end of bubblewrap closes its status, but the end takes a moment.
            if self._outer_fd < 0:
                self._outer_fd = os.pidfd_open(self._outer)
                self._keeper.watch(self._outer_fd, self._on_outer_end)
            return
        *lines, self._said = (self._said + piece).split(b"\n")
        for line in lines:
            said = json.decode(line)
            if "child-pid" in said:
                self._on_first(said["child-pid"])
            if "exit-code" in said:
                self._exit_code = said["exit-code"]

    def _on_outer_end(self) -> None:
        if self._first_fd < 0 and (self._launch.own is not None or not self._first):
            # A pasta that could make no network leaves its other half waiting for it for ever, a bubblewrap that somebody
            # killed its first process. Until it is waited for, the session is nobody else's.
            for process in session(self._outer):
                send(process, signal.SIGKILL)
        self._outer_code = os.waitstatus_to_exitcode(os.waitpid(self._outer, 0)[1])
        self._keeper.close_watched(self._outer_fd)
        if self._status >= 0:
            self._on_status()
        if self._status >= 0:
            self._keeper.close_watched(self._status)
        if self._first_fd >= 0:
            # Daemons; or bubblewrap was killed by somebody before it could say what is to die with it.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first_fd, signal.SIGKILL)
        self._finish_when_empty()

    def _on_first(self, pid: int | None) -> None:
        """All is mounted, or soon will be; the program waits."""
        if self._launch.own is not None:
            pid = first_inside(self._outer, pid)
        if pid is None:
            return
        outer, first = look_at(self._outer), look_at(pid)
        try:
            self._first_fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return  # it could not be made; bubblewrap's end says why
        self._first = pid
        self._keeper.watch(self._first_fd, self._on_empty)
        try:
            if outer is None or first is None:
                return  # it ended already, which we hear of next
            for which, limit in self._launch.limits:
                resource.prlimit(pid, which, limit)
            self._launch.begun(outer, first)
        except (OSError, Lost) as error:
            self._refuse("held", error)
            self.kill()
        if self._killed:
            self.kill()
        else:
            self._start_time = time.time()
            self._let_go = True
            with contextlib.suppress(BrokenPipeError):  # what it was to mount could not be; its end says why
                os.write(self._gate, _CALLS)
            os.close(self._gate)
            self._gate = -1

    def _on_empty(self) -> None:
        self._keeper.close_watched(self._first_fd)
        self._first_fd = -1
        self._finish_when_empty()

    def _on_output(self, pipe: Pipe) -> None:
        if not pipe.read() and not pipe.open:
            self._keeper.close_watched(pipe.read_fd)

    def _refuse(self, what: str, error: Exception) -> None:
        self._error = f"The executor could not be {what}: {error}."
        # Arguments that are too long, or no arguments at all, stay so.
        self._again = not isinstance(error, ValueError) and getattr(error, "errno", 0) != errno.E2BIG

    def _finish_when_empty(self) -> None:
        if self._first_fd < 0 and self._outer_code is not None:
            for stream in self._streams:
                if isinstance(stream, Pipe) and stream.open:
                    while stream.read():
                        pass
                    self._keeper.close_watched(stream.read_fd)
            self._finish()

    def _finish(self) -> None:
        if self._gate >= 0:
            os.close(self._gate)
        end_time = time.time()
        stdout, stderr = self._launch.stdout.written(), self._launch.stderr.written()
        for stream in self._streams:
            if isinstance(stream, File):
                stream.close()
        code, error = self._exit_code, self._error
        refused = False
        if code is None and error is None:
            code, error = self._why_not(stderr.tail)
            refused = not self._killed and self._outer_code == 1 and error is None
        self._ended(
            Ended(
                ran=error is None and self._let_go,
                refused=refused,
                error=error,
                again=self._again or (error is not None and any(words in error for words in _PASSING)),
                exit_code=code or 0,
                start_time=self._start_time,
                end_time=end_time,
                stdout=stdout,
                stderr=stderr,
            )
        )

    def _why_not(self, words: bytes) -> tuple[int | None, str | None]:
        """Bubblewrap did not say how the program ended: it did not run, or was killed together with it."""
        if self._killed or self._outer_code != 1:
            code = self._outer_code or 0
            return (128 - code if code < 0 else code), None
        last = words.rstrip().rpartition(b"\n")[2]
        if last.startswith(_REFUSED):
            return (127 if last.endswith(os.strerror(2).encode()) else 126), None
        return None, f"The sandbox could not be made: {last.decode(errors='replace').removeprefix('bwrap: ')}."
