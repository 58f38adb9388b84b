"""What executors see of this machine, as arguments of bubblewrap. Pure."""

import os
from collections.abc import Iterable, Sequence
from enum import StrEnum
from posixpath import dirname

from msgspec import Struct

from tesk.compute.plan import Plan, Step

HOME = "/home/task"
"""Executors' home, wherever they run."""

STANDARD_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

ETC = (
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "crypto-policies",
    "fonts",
    "group",
    "hosts",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "passwd",
    "pki",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)
"""What programs need of `/etc`, as far as the host has it; nothing else of it is seen."""


class HostKind(StrEnum):
    """What the host has at a path."""

    FOLDER = "FOLDER"
    FILE = "FILE"
    LINK = "LINK"


class HostPath(Struct, frozen=True, kw_only=True):
    """One path of the host that executors see, read-only. `source`: where it really lies; of a LINK what it says."""

    path: str
    kind: HostKind
    source: str


class Places(Struct, frozen=True, kw_only=True):
    """Where an attempt's folders are on the host: `root` stands for the task's `/`, the others are one step's own.

    `tmp` is `/var/tmp` as well: each folder costs every task a little, and names there are made not to meet.
    """

    root: str
    tmp: str
    home: str


class HostArguments(Struct, frozen=True, kw_only=True):
    """What is the same for all executors: `first`, and what lies below a folder of the task's own and so comes after it."""

    first: tuple[str, ...]
    after_own: tuple[str, ...]


_OWN = ("/tmp", "/var/tmp", HOME)  # noqa: S108  in the sandbox


def sandbox_arguments(
    step: Step,
    plan: Plan,
    places: Places,
    *,
    host: HostArguments,
    network_off: bool,
    owner: tuple[int, int],
    gate: int,
    status: int,
    more: int | None,
) -> list[str]:
    """Return the command line that runs one executor.

    `host` is what `host_arguments` made; `more`, if given, a descriptor of what `environment_arguments` made. On `status`
    bubblewrap tells of its processes; it waits for the end of what it reads from `gate`, the filter of system calls, when
    all is mounted. A sandbox that root started could remount and write the host's files, so all capabilities are dropped
    and no user namespace can be made inside.
    """
    arguments = [
        "bwrap",
        *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "tesk"),
        *("--cap-drop", "ALL", "--new-session", "--disable-userns", "--die-with-parent"),
        *("--uid", str(owner[0]), "--gid", str(owner[1])),
        *("--seccomp", str(gate), "--json-status-fd", str(status)),
        *host.first,
    ]
    if network_off:
        arguments.append("--unshare-net")
    # /dev is in memory, too: nothing can be put there but in /dev/shm, and no more than the task has of memory.
    arguments += ("--size", str(max(plan.ram_bytes, 1_000_000)), "--tmpfs", "/dev/shm", "--remount-ro", "/dev")  # noqa: S108  in the sandbox
    shared = {entry.path for entry in plan.shared}
    for target, source in zip(_OWN, (places.tmp, places.tmp, places.home), strict=True):
        if not _covered(target, shared):
            arguments += ("--bind", source, target)
    arguments += host.after_own
    bound: set[str] = set()
    for entry in plan.shared:
        # What lies in a bound folder is seen there. Executors write in it: below it bubblewrap would follow their links.
        if not _covered(entry.path, bound):
            arguments += ("--bind", places.root + entry.path, entry.path)
            bound.add(entry.path)
    if more is not None:
        arguments += ("--args", str(more))
    arguments += ("--chdir", step.workdir or "/", "--", *step.command)
    return arguments


def host_arguments(
    seen: Iterable[HostPath], *, path: Sequence[str], memory_bytes: int = 8 * 1024 * 1024
) -> HostArguments:
    """Return what is the same for all executors: a small root in memory, the host's programs, /dev, /proc, environment."""
    arguments = ["--size", str(memory_bytes), "--tmpfs", "/"]
    after_own: list[str] = []
    for entry in seen:
        chosen = after_own if _covered(entry.path, set(_OWN)) else arguments
        chosen += ("--symlink" if entry.kind is HostKind.LINK else "--ro-bind", entry.source, entry.path)
    arguments += ("--dev", "/dev", "--proc", "/proc", "--clearenv")
    for name, value in environment(path).items():
        arguments += ("--setenv", name, value)
    return HostArguments(first=tuple(arguments), after_own=tuple(after_own))


def environment(path: Sequence[str], *, home: str = HOME, temporary: str = "/tmp") -> dict[str, str]:  # noqa: S108  in the sandbox
    """Return the little that every program expects, with `path` first in PATH; nothing of the server's."""
    return {
        "PATH": ":".join((*path, *STANDARD_PATH)),
        "HOME": home,
        "TMPDIR": temporary,
        "LANG": "C.UTF-8",
    }


def environment_arguments(step: Step) -> bytes:
    """Return the arguments that set the task's own environment, as bubblewrap reads them from a descriptor."""
    return b"".join(b"--setenv\0%s\0%s\0" % (os.fsencode(name), os.fsencode(value)) for name, value in step.env.items())


def _covered(path: str, shared: set[str]) -> bool:
    while path not in shared:
        if path == "/":
            return False
        path = dirname(path)
    return True
