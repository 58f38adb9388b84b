"""As whom executors run. A server that is root lets one thread become somebody else; what it starts is that user's."""

import ctypes
import os
import platform
import pwd
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tesk.errors import StartError

_libc = ctypes.CDLL(None, use_errno=True)

# The C library changes the user of all threads of a process; the kernel's own calls change that of one.
_CALLS = {
    "x86_64": {"setgroups": 116, "setresuid": 117, "setresgid": 119},
    "aarch64": {"setgroups": 159, "setresuid": 147, "setresgid": 149},
    "riscv64": {"setgroups": 159, "setresuid": 147, "setresgid": 149},
    "ppc64le": {"setgroups": 81, "setresuid": 164, "setresgid": 169},
    "s390x": {"setgroups": 206, "setresuid": 208, "setresgid": 210},
}

_CLONE_FS = 0x200
_CLONE_NEWNS = 0x20000
_MS_NOSUID_NODEV = 0x6
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SLAVE = 0x80000


class User(NamedTuple):
    """Somebody of this machine, by numbers."""

    name: str
    uid: int
    gid: int

    @property
    def owner(self) -> tuple[int, int]:
        """Who owns what this user's tasks bring and write: (uid, gid)."""
        return self.uid, self.gid


def executor_user(name: str, *, is_root: bool) -> User | None:
    """Return whom executors run as: `name` where the server is root, None (the server's own user) elsewhere.

    Raises StartError for a user that is not there, or is root.
    """
    if not is_root:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise StartError(f"local.user: there is no user {name!r} on this machine.") from error
    if entry.pw_uid == 0:
        raise StartError(f"local.user: executors never run as {name!r}, which is root; name another user.")
    if platform.machine() not in _CALLS:
        raise StartError(f"A server on {platform.machine()} cannot be started by root; start it as another user.")
    return User(name, entry.pw_uid, entry.pw_gid)


def settle_thread(user: User | None, work: Path) -> None:
    """Give the calling thread an own working directory and umask, and make it `user`, without any group but its own.

    The kernel keeps users for each thread. What the thread starts has nothing of root, not even a saved id, and starts as
    fast as without: no program in between. Where `user` cannot reach `work` (below `/root`, say), the thread gets its own
    view of the mounts first, in which the folder that is in the way holds nothing but the way to `work`.
    """
    _check(_libc.unshare(_CLONE_FS), "unshare")
    os.chdir("/")
    os.umask(0o022)
    if user is None:
        return
    if (closed := _closed_above(user, work)) is not None:
        _open_ways(closed, [work])
    calls = _CALLS[platform.machine()]
    _check(_libc.syscall(calls["setgroups"], 0, None), "setgroups")
    _check(_libc.syscall(calls["setresgid"], user.gid, user.gid, user.gid), "setresgid")
    _check(_libc.syscall(calls["setresuid"], user.uid, user.uid, user.uid), "setresuid")


def _closed_above(user: User, work: Path) -> Path | None:
    """The topmost folder on the way to `work`, itself included, through which `user` may not go."""
    for folder in [*reversed(work.parents), work]:
        status = folder.stat()
        bit = 0o100 if status.st_uid == user.uid else 0o010 if status.st_gid == user.gid else 0o001
        if not status.st_mode & bit:
            return folder
    return None


def _open_ways(closed: Path, wanted: Sequence[Path]) -> None:
    """Cover a folder, for this thread, by one that holds nothing but the ways to some folders below it."""
    kept: list[int] = []
    try:
        _check(_libc.unshare(_CLONE_NEWNS), "unshare")
        # As a slave the thread sees what is mounted later; nothing of what it mounts is seen outside.
        _check(_libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None), "mount")
        kept += (os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for folder in wanted)
        options = b"mode=755,size=1m"
        _check(_libc.mount(b"tesk", os.fsencode(closed), b"tmpfs", _MS_NOSUID_NODEV, options), "mount")
        for folder, fd in zip(wanted, kept, strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            source = f"/proc/thread-self/fd/{fd}".encode()
            _check(_libc.mount(source, os.fsencode(folder), None, _MS_BIND | _MS_REC, None), "mount")
    except OSError as error:
        raise StartError(_hint(closed)) from error
    finally:
        for fd in kept:
            os.close(fd)


def _hint(closed: Path) -> str:
    """Say what helps where the executors' user cannot go through `closed`."""
    return (
        f"Executors do not run as root, and their user (local.user) cannot enter {closed}; "
        "set data_dir to a folder such as /var/lib/tesk."
    )


def _check(result: int, call: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")
