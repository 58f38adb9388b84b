"""Which system calls executors may make: all but those for the kernel's keys, which know no sandbox. Pure.

What a session of the server's user keeps there (Kerberos tickets, say) is open to all that comes from it, and a key of one
task would be in the reach of the next. To programs it looks as if this kernel had no keys.
"""

import errno
import struct
from collections.abc import Iterator

_KEYS = {
    0xC000003E: (248, 250),  # x86-64, x32 among it
    0x40000003: (286, 288),  # i386
    0xC00000B7: (217, 219),  # arm64
    0x40000028: (309, 311),  # arm
    0xC00000F3: (217, 219),  # riscv64
    0xC0000015: (269, 271),  # ppc64le
    0x80000016: (278, 280),  # s390x
    0x00000016: (278, 280),  # s390
}
"""By the kernel's word for the kind of call (AUDIT_ARCH_...): the numbers of add_key, request_key and keyctl, in a row."""

_LOAD, _AND, _RETURN, _EQUAL, _AT_LEAST, _ABOVE = 0x20, 0x54, 0x06, 0x15, 0x35, 0x25
_NUMBER, _KIND = 0, 4  # where they are in `struct seccomp_data`
_NOT_X32 = 0xBFFFFFFF
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def allowed_calls() -> bytes:
    """Return the filter, as the kernel takes it (`struct sock_filter`, seccomp(2))."""
    return b"".join(_instructions())


def _instructions() -> Iterator[bytes]:
    for kind, (first, last) in _KEYS.items():
        # A jump goes over so many instructions, where it holds and where not: the end of these seven is the next kind's.
        yield _instruction(_LOAD, _KIND)
        yield _instruction(_EQUAL, kind, 0, 5)
        yield _instruction(_LOAD, _NUMBER)
        yield _instruction(_AND, _NOT_X32)
        yield _instruction(_AT_LEAST, first, 0, 2)
        yield _instruction(_ABOVE, last, 1, 0)
        yield _instruction(_RETURN, _ERRNO | errno.ENOSYS)
    yield _instruction(_RETURN, _ALLOW)


def _instruction(code: int, value: int, holds: int = 0, not_: int = 0) -> bytes:
    return struct.pack("=HBBI", code, holds, not_, value)
