"""Wait for the ends of processes, our own and others', in the event loop."""

import asyncio
import contextlib
import os
from pathlib import Path

from tesk.compute.machine.processes import Process, look_at


async def gone(fd: int) -> None:
    """Return when the process of a pidfd has ended. The descriptor is closed, however it goes."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        loop.add_reader(fd, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


async def exit_of(pid: int) -> int:
    """Wait for the end of a child and return its exit code, or the negative number of the signal that killed it."""
    await gone(os.pidfd_open(pid))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])  # noqa: ASYNC222  it has ended


def starter(name: str) -> Process | None:
    """Return the engine's process that starts, or started, the container of this name, if there is one still."""
    wanted = os.fsencode(name)
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                named = words[0].rpartition(b"/")[2] in {b"podman", b"docker"} and b"run" in words
                if named and wanted in words and (process := look_at(int(entry))) is not None:
                    return process
    return None
