"""How many read a named pipe. The kernel has no call for that, but shows who has it open."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

_KCMP = {"x86_64": 312, "aarch64": 272, "riscv64": 272, "ppc64le": 354, "s390x": 343}.get(os.uname().machine)
_KCMP_FILE = 0
_libc = ctypes.CDLL(None)


def readers(pipe: int) -> int:
    """Return how often the pipe that a descriptor stands for is open for reading, by processes that this one may look at.

    What was passed on to a child or doubled is one. Where the kernel does not compare, all are one.
    """
    itself = os.fstat(pipe)
    different: list[tuple[int, int]] = []
    for process, number in _open_pipes(os.readlink(f"/proc/self/fd/{pipe}")):
        with contextlib.suppress(OSError):  # it ended, or closed it
            there = os.stat(f"/proc/{process}/fd/{number}")
            if (there.st_dev, there.st_ino) != (itself.st_dev, itself.st_ino) or not _reads(process, number):
                continue
            if not any(_same(process, number, *other) for other in different):
                different.append((process, number))
    return len(different)


def _open_pipes(path: str) -> Iterator[tuple[int, int]]:
    """Yield process and number of descriptors of files that have this name, wherever those see them."""
    name = os.path.basename(path.removesuffix(" (deleted)"))
    for process in os.listdir("/proc"):
        if not process.isdecimal() or int(process) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    shown = os.readlink(f"/proc/{process}/fd/{number}").removesuffix(" (deleted)")
                    if os.path.basename(shown) == name:
                        yield int(process), int(number)


def _reads(process: int, number: int) -> bool:
    with open(f"/proc/{process}/fdinfo/{number}") as lines:
        flags = next((int(line.split()[1], 8) for line in lines if line.startswith("flags:")), 0)
    return flags & os.O_ACCMODE != os.O_WRONLY and not flags & os.O_PATH


def _same(process: int, number: int, other: int, other_number: int) -> bool:
    """Say whether two descriptors are of one opening. Only a plain "no" is one: 1 and 2 order what differs."""
    if _KCMP is None:
        return True
    answer: int = _libc.syscall(_KCMP, process, other, _KCMP_FILE, ctypes.c_ulong(number), ctypes.c_ulong(other_number))
    return answer <= 0
