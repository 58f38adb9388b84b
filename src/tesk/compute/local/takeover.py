"""Empty an attempt that another server of this machine left, dead or stopped, so that nothing of it runs any more."""

import os
import select
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from tesk.compute.backend import AttemptId
from tesk.compute.local.folder import Folders, Owner
from tesk.compute.machine.processes import Process, is_running, look_at, open_process
from tesk.errors import BackendUnavailable

_PATIENCE_SECONDS = 20.0


def take_over(folders: Folders, attempt: AttemptId, us: Owner) -> bool:
    """Kill what runs of an attempt and remove its folder; say whether there was one. Nothing can be started in it later.

    Raises BackendUnavailable where a server that is not stopped has it (which finds out that its lease is over, and ends
    it), where its processes cannot be seen from here, or do not go away.
    """
    # First the mark: whoever makes the folder later finds it, whoever made it earlier is found by us.
    folders.mark_gone(attempt)
    # Between the making of that file and its first word only the server's own says who it is.
    owner = folders.owner(attempt) or folders.server()
    if owner is not None and folders.is_held(attempt):
        if owner.namespace != us.namespace:
            raise BackendUnavailable(
                f"Attempt {attempt} is run by a server in another container of this machine; end it."
            )
        if is_running(owner.server):
            raise BackendUnavailable(f"Attempt {attempt} is run by another server of this machine, which lives.")
    if not folders.path(attempt).exists():
        return False
    path = folders.path(attempt)
    # Before the folder goes: should we die here, the next server finds it, and does this again.
    _kill(owner.processes if owner else ())
    _kill_naming([path])
    away = folders.take_away(attempt)
    if away is None:
        return True
    # What was started up to now is written down in the folder, or still stands at its gate; later ones find no folder.
    owner = folders.read_owner(away)
    _kill(owner.processes if owner else ())
    _kill_naming([path])
    folders.discard(away)
    return True


def finish_takeovers(folders: Folders) -> None:
    """Kill what a server that died in the middle of a takeover had not killed yet. Raises BackendUnavailable."""
    if taken := [folders.path(attempt) for attempt in folders.taken_away()]:
        _kill_naming(taken)


def _kill(processes: Iterable[Process]) -> None:
    """Kill processes and wait until they are gone. The first one of a namespace goes after all others in it."""
    until = time.monotonic() + _PATIENCE_SECONDS
    for fd in [fd for process in processes if (fd := open_process(process)) is not None]:
        try:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise BackendUnavailable(
                    "A process of an attempt that is over cannot be killed; it waits for the kernel."
                )
        except ProcessLookupError:
            pass
        finally:
            os.close(fd)


def _kill_naming(paths: Collection[Path]) -> None:
    # A sandbox may make its first process while it is being killed, which then waits for ever to be told who it is.
    while found := [*_naming(paths)]:
        _kill(found)


def _naming(paths: Collection[Path]) -> Iterator[Process]:
    """The sandboxes whose command lines name one of these folders: such as stood at the gate and were not written down yet."""
    wanted = tuple(os.fsencode(path) + b"/own/" for path in paths)
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            sandbox = any(word == b"bwrap" or word.endswith(b"/bwrap") for word in words)
            named = any(word.startswith(wanted) for word in words)
            if sandbox and named and (process := look_at(int(name))) is not None:
                yield process
