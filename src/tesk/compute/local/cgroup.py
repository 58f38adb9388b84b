"""Hold an attempt's memory, processes and share of the cores, by whichever kind of control group this machine gives us."""

import contextlib
import os
import re
from pathlib import Path
from typing import Protocol

from tesk.compute.machine.processes import Process, look_at
from tesk.settings import LocalSettings

_SHARES = 1024  # what every group has by default
_WEIGHT = 100
_WEIGHT_MAX = 10_000


class Cgroup(Protocol):
    """One attempt's group."""

    def add(self, pid: int) -> None:
        """Put a process in, whose children follow. From any thread."""

    def ran_out(self) -> bool:
        """Say whether the kernel has killed something in it for want of memory."""

    def remove(self) -> None:
        """Remove it, once it is empty."""


class Cgroups(Protocol):
    """Where groups are made. `says`: what is held, and how, as a sentence."""

    says: str
    holds_memory: bool

    def make(self, name: str, *, ram_bytes: int, cpu_cores: float) -> Cgroup | None:
        """Make a group, None where this machine gives us none."""

    def left(self) -> set[str]:
        """Return the names of all groups that are there, those of dead servers, too."""

    def remove_left(self) -> None:
        """Remove what dead servers left, as far as it is empty."""

    def close(self) -> None:
        """Remove what holds the groups, if it is empty."""


def find_cgroups(settings: LocalSettings, place: str, process: Path = Path("/proc/self")) -> Cgroups:
    """Return the first kind of groups that works here. `place` tells our groups from others of the same process.

    `process` is where the kernel says which trees of groups this process sees, and where in them it is.
    """
    us = look_at(os.getpid())
    assert us is not None
    name = f"tesk-{us.pid}-{us.started}-" + re.sub(r"\W", "", place)[-24:]
    mounts = _mounts(process)
    own = _own_groups(process)
    if "memory" in mounts:
        with contextlib.suppress(OSError):
            return _Old(mounts, own, name)
    if "" in mounts:
        for parent in dict.fromkeys((_under(mounts[""], own.get("", "/")), mounts[""][0])):
            with contextlib.suppress(OSError):
                return _Unified(parent, name, settings.processes_limit)
    return NoCgroups()


class NoCgroups:
    """A machine that lets us make none: memory is counted, not held."""

    says = "Memory is counted, not limited: no control group can be made here."
    holds_memory = False

    def make(self, name: str, *, ram_bytes: int, cpu_cores: float) -> Cgroup | None:  # noqa: ARG002  the Protocol's
        """There is none."""
        return None

    def left(self) -> set[str]:
        """There is none."""
        return set()

    def remove_left(self) -> None:
        """There is none."""

    def close(self) -> None:
        """There is none."""


class _Old:
    """Version 1: a tree for each resource."""

    says = "Memory is limited by control groups (version 1)."
    holds_memory = True

    def __init__(self, mounts: dict[str, tuple[Path, str]], own: dict[str, str], name: str) -> None:
        self._memory = _under(mounts["memory"], own.get("memory", "/")) / name
        _sweep(self._memory.parent)
        self._memory.mkdir(exist_ok=True)
        self._cpu: Path | None = None
        if "cpu" in mounts:
            with contextlib.suppress(OSError):
                cpu = _under(mounts["cpu"], own.get("cpu", "/")) / name
                _sweep(cpu.parent)
                cpu.mkdir(exist_ok=True)
                self._cpu = cpu

    def make(self, name: str, *, ram_bytes: int, cpu_cores: float) -> Cgroup | None:
        memory = f"{self._memory}/{name}"
        os.mkdir(memory)
        _write(f"{memory}/memory.limit_in_bytes", ram_bytes)
        folders = [memory]
        # One core's share is what everybody has without a group, and groups cost time.
        if self._cpu is not None and cpu_cores != 1:
            folders.append(f"{self._cpu}/{name}")
            os.mkdir(folders[1])
            _write(f"{folders[1]}/cpu.shares", max(2, round(cpu_cores * _SHARES)))
        return _Group(folders, f"{memory}/memory.oom_control")

    def left(self) -> set[str]:
        return {
            entry.name
            for parent in (self._memory, self._cpu)
            if parent is not None
            for entry in parent.iterdir()
            if entry.is_dir()
        }

    def remove_left(self) -> None:
        for ours in (self._memory, self._cpu):
            if ours is not None:
                _sweep(ours.parent)

    def close(self) -> None:
        for parent in (self._memory, self._cpu):
            if parent is not None:
                with contextlib.suppress(OSError):
                    os.rmdir(parent)


class _Unified:
    """Version 2: one tree. A group whose children are held by something has no processes of its own."""

    says = "Memory is limited by control groups (version 2)."
    holds_memory = True

    def __init__(self, parent: Path, name: str, processes_limit: int) -> None:
        self._processes_limit = processes_limit
        here = _controllers(parent / "cgroup.subtree_control")
        if "memory" not in here:
            self._make_room(parent)
        self._folder = parent / name
        _sweep(parent)
        self._folder.mkdir(exist_ok=True)
        self._held = _controllers(self._folder / "cgroup.controllers") & {"memory", "pids", "cpu"}
        _write(f"{self._folder}/cgroup.subtree_control", " ".join(f"+{word}" for word in sorted(self._held)))
        if "memory" not in self._held:
            self._folder.rmdir()
            raise OSError("no control of memory")

    def _make_room(self, parent: Path) -> None:
        """Move this server, if it is alone there, into a group of its own, so that the one it was in can hold others."""
        processes = (parent / "cgroup.procs").read_text().split()
        if processes != [str(os.getpid())]:
            raise OSError("other processes are in this group")
        own = parent / "tesk-server"
        own.mkdir(exist_ok=True)
        _write(f"{own}/cgroup.procs", os.getpid())
        wanted = _controllers(parent / "cgroup.controllers") & {"memory", "pids", "cpu"}
        _write(f"{parent}/cgroup.subtree_control", " ".join(f"+{word}" for word in sorted(wanted)))

    def make(self, name: str, *, ram_bytes: int, cpu_cores: float) -> Cgroup | None:
        folder = f"{self._folder}/{name}"
        os.mkdir(folder)
        _write(f"{folder}/memory.max", ram_bytes)
        with contextlib.suppress(OSError):
            _write(f"{folder}/memory.swap.max", 0)  # a machine without swap accounting has no such file
        if "pids" in self._held:
            _write(f"{folder}/pids.max", self._processes_limit)
        if "cpu" in self._held and cpu_cores != 1:
            _write(f"{folder}/cpu.weight", min(_WEIGHT_MAX, max(1, round(cpu_cores * _WEIGHT))))
        return _Group([folder], f"{folder}/memory.events")

    def left(self) -> set[str]:
        return {entry.name for entry in self._folder.iterdir() if entry.is_dir()}

    def remove_left(self) -> None:
        _sweep(self._folder.parent)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._folder.rmdir()


class _Group:
    """One attempt's folders in the trees of groups."""

    def __init__(self, folders: list[str], events: str) -> None:
        self._folders = folders
        self._events = events
        # Opened by whoever made the group: what is written later by the executors' user counts as ours.
        self._processes = [os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in folders]

    def add(self, pid: int) -> None:
        for processes in self._processes:
            os.write(processes, b"%d" % pid)

    def ran_out(self) -> bool:
        # Somebody who took the attempt over has removed it.
        with contextlib.suppress(FileNotFoundError), open(self._events) as file:
            return any(int(line.split()[1]) > 0 for line in file if line.startswith("oom_kill "))
        return False

    def remove(self) -> None:
        for processes in self._processes:
            os.close(processes)
        self._processes = []
        for folder in self._folders:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(folder)


def _sweep(parent: Path) -> None:
    """Remove what servers that are dead left here. A group with processes in it cannot be removed, and stays."""
    for group in parent.glob("tesk-*-*-*"):
        _, pid, started, _ = group.name.split("-", 3)
        if pid.isdecimal() and started.isdecimal() and look_at(int(pid)) != Process(int(pid), int(started)):
            for inner in [*(entry for entry in group.iterdir() if entry.is_dir()), group]:
                with contextlib.suppress(OSError):
                    inner.rmdir()


def _mounts(process: Path) -> dict[str, tuple[Path, str]]:
    """Where each tree is mounted, and which of its folders that is, by the name of what it controls ("" for version 2)."""
    found: dict[str, tuple[Path, str]] = {}
    with open(process / "mountinfo") as file:
        for line in file:
            words = line.split()
            kind, _, options = words[words.index("-") + 1 :][:3]
            if kind == "cgroup2":
                found.setdefault("", (Path(words[4]), words[3]))
            elif kind == "cgroup":
                for word in options.split(","):
                    found.setdefault(word, (Path(words[4]), words[3]))
    return found


def _own_groups(process: Path) -> dict[str, str]:
    """In which group of each tree this process is."""
    own = {}
    with open(process / "cgroup") as file:
        for line in file:
            _, names, path = line.rstrip("\n").split(":", 2)
            for name in names.split(","):
                own[name] = path
    return own


def _under(mount: tuple[Path, str], group: str) -> Path:
    place, root = mount
    return place / os.path.relpath(group, root) if group.startswith(root) else place


def _controllers(path: Path) -> set[str]:
    return set(path.read_text().split())


def _write(path: str, value: float | str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)
