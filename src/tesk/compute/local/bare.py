"""One executor without a sandbox, for machines that have none: a session of its own, killed as far as it can be found."""

import contextlib
import os
import resource
import signal

from tesk.compute.local.folder import Lost
from tesk.compute.local.run import Run
from tesk.compute.machine.processes import look_at, open_process, session


class BareRun(Run):
    """What is started is the program itself, by setpriv. A daemon that leaves the session is not found."""

    def terminate(self) -> None:
        """Ask the session to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the session."""
        self._killed = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._outer and self._outer_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._outer, number)
            for process in session(self._outer):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def _open_gate(self) -> tuple[int, int, tuple[int, ...]]:
        return -1, -1, ()

    def _spawned(self) -> None:
        self._let_go = True
        self._outer_fd = os.pidfd_open(self._outer)
        self._keeper.watch(self._outer_fd, self._on_outer_end)
        process = look_at(self._outer)
        assert process is not None  # nobody has waited for it
        try:
            for which, limit in self._launch.limits:
                resource.prlimit(self._outer, which, limit)
            self._launch.begun(process, process)
        except (OSError, Lost) as error:
            self._refuse("held", error)
            self._killed = True
        if self._killed:
            self.kill()

    def _on_outer_end(self) -> None:
        self._outer_code = os.waitstatus_to_exitcode(os.waitpid(self._outer, 0)[1])
        self._exit_code = self._outer_code if self._outer_code >= 0 else 128 - self._outer_code
        self._keeper.close_watched(self._outer_fd)
        self._wait_for_rest()

    def _wait_for_rest(self) -> None:
        """Kill one after another what stayed behind, and go on when the last is gone."""
        for process in session(self._outer):
            if (fd := open_process(process)) is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)

                def gone(fd: int = fd) -> None:
                    self._keeper.close_watched(fd)
                    self._wait_for_rest()

                self._keeper.watch(fd, gone)
                return
        self._finish_when_empty()
