"""Processes of this machine: who they are, what came from them, how they are sent a signal without hitting another."""

import contextlib
import os
import signal
from collections.abc import Iterator

from msgspec import Struct

_STATE, _SESSION, _STARTED = 0, 3, 19


class Process(Struct, frozen=True, array_like=True):
    """One process: its id, and when it started (in ticks since boot), since ids are used again."""

    pid: int
    started: int


def look_at(pid: int) -> Process | None:
    """Return who has this id now."""
    words = _words(pid)
    return Process(pid, int(words[_STARTED])) if words else None


def is_running(process: Process) -> bool:
    """Say whether exactly this process is there and neither stopped nor ended."""
    words = _words(process.pid)
    return bool(words) and int(words[_STARTED]) == process.started and words[_STATE] not in {b"T", b"t", b"Z", b"X"}


def session(leader: int) -> Iterator[Process]:
    """Yield the processes of a session that have not ended."""
    for name in os.listdir("/proc"):
        words = _words(int(name)) if name.isdecimal() else []
        if words and int(words[_SESSION]) == leader and words[_STATE] not in {b"Z", b"X"}:
            yield Process(int(name), int(words[_STARTED]))


def _words(pid: int) -> list[bytes]:
    """What the kernel says of a process, from its state on (proc_pid_stat(5)); nothing where it is gone."""
    try:
        # Two of these go before each program; a file object would cost as much again.
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            line = os.read(fd, 4096)
        finally:
            os.close(fd)
    except (FileNotFoundError, ProcessLookupError):
        return []
    return line[line.rindex(b")") + 2 :].split(b" ", 20)


def open_process(process: Process) -> int | None:
    """Return a descriptor of exactly this process (a pidfd), None where it is gone."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if look_at(process.pid) == process:
        return fd
    os.close(fd)
    return None


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal to exactly this process, if it is still there."""
    if (fd := open_process(process)) is not None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, number)
        os.close(fd)


def children(pid: int) -> list[int]:
    """Return the children of a process, none where it is gone."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with (
                contextlib.suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/{pid}/task/{thread}/children", "rb") as file,
            ):
                found += map(int, file.read().split())
    return found


def descendants(pid: int) -> Iterator[int]:
    """Yield all that came from a process, parents first; what is born meanwhile may be missing."""
    todo = children(pid)
    seen: set[int] = set()
    while todo:
        child = todo.pop()
        if child not in seen:
            seen.add(child)
            yield child
            todo += children(child)


def first_inside(outer: int, pid: int | None) -> int | None:
    """Return our id of the first process of a namespace below `outer`, which has the id `pid` in the one above it."""
    for child in descendants(outer):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{child}/status", "rb") as file:
            ids = next(line for line in file if line.startswith(b"NSpid:")).split()[1:]
            if len(ids) > 2 and ids[-1] == b"1" and int(ids[-2]) == pid:
                return child
    return None
