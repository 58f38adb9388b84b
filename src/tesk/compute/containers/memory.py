"""See that the kernel killed something in a container for want of memory. Engines see it, too, but not everywhere."""

import asyncio
import contextlib
import os
from pathlib import Path

from tesk.compute.containers.waiting import gone

_LOOK_SECONDS = 0.03


async def watch(pid_file: Path) -> bool:
    """Wait for a container's first process, then for its end; say whether memory ran out. Canceled where nobody wants to know."""
    while not (pid := _number(pid_file)):  # noqa: ASYNC110  another program writes it
        await asyncio.sleep(_LOOK_SECONDS)
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    events = _events(pid)
    await gone(fd)
    # Its group lives for a moment longer.
    return events is not None and _kills(events) > 0


def _number(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


def _events(pid: int) -> str | None:
    """The file in which the kernel counts, of whichever kind of control group holds the memory of a process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cgroup") as lines:
        for line in lines:
            _, controllers, group = line.rstrip("\n").split(":", 2)
            if controllers == "memory":
                return f"/sys/fs/cgroup/memory{group}/memory.oom_control"
            if not controllers and os.path.exists(path := f"/sys/fs/cgroup{group}/memory.events"):
                return path
    return None


def _kills(events: str) -> int:
    with contextlib.suppress(OSError), open(events) as lines:
        for line in lines:
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0
