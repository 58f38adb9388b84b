"""Start a program while the other threads go on.

`os.posix_spawn` keeps Python's lock until the new program has begun, on a busy machine for ten milliseconds, in which the
whole server stands still. This is the same call of the C library, without the lock.
"""

import ctypes
import os
import signal
from collections.abc import Sequence

_libc = ctypes.CDLL(None, use_errno=True)

_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80

# Python ignores the first two, a terminal's user may have ignored others; a program expects none of it.
_DEFAULTS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


class _Room(ctypes.Structure):
    """More than any C library's types of `posix_spawn` take."""

    _fields_ = (("words", ctypes.c_ulong * 128),)


def spawn(
    program: str,
    arguments: Sequence[str],
    environment: dict[str, str],
    *,
    streams: tuple[int, int, int],
    passed: Sequence[int],
    folder: str | None = None,
) -> int:
    """Start a program in a session of its own and return its process id. Raises OSError, ValueError for a NUL.

    It has `streams` as 0, 1 and 2, `passed` under their own numbers, no other descriptor that is not inheritable, the
    default action for each signal, and none of them blocked. It works in `folder`, if one is given.
    """
    actions = _Room()
    _libc.posix_spawn_file_actions_init(ctypes.byref(actions))
    try:
        # Onto itself: it stays open in the program.
        for source, target in (*zip(streams, (0, 1, 2), strict=True), *zip(passed, passed, strict=True)):
            _check(_libc.posix_spawn_file_actions_adddup2(ctypes.byref(actions), source, target))
        if folder is not None:
            _check(_libc.posix_spawn_file_actions_addchdir_np(ctypes.byref(actions), os.fsencode(folder)))
        pid = ctypes.c_int()
        _check(
            _libc.posix_spawn(
                ctypes.byref(pid),
                os.fsencode(program),
                ctypes.byref(actions),
                ctypes.byref(_attributes),
                _strings(arguments),
                _strings([f"{name}={value}" for name, value in environment.items()]),
            )
        )
        return pid.value
    finally:
        _libc.posix_spawn_file_actions_destroy(ctypes.byref(actions))


def _strings(texts: Sequence[str]) -> "ctypes.Array[ctypes.c_char_p]":
    # All at once: a sandbox has a hundred and fifty words.
    encoded = os.fsencode("\0".join(texts)).split(b"\0") if texts else []
    if len(encoded) != len(texts):
        raise ValueError("embedded null character")
    return (ctypes.c_char_p * (len(encoded) + 1))(*encoded, None)


def _check(code: int) -> None:
    if code != 0:
        raise OSError(code, os.strerror(code))


def _make_attributes() -> _Room:
    attributes, none, defaults = _Room(), _Room(), _Room()
    _libc.sigemptyset(ctypes.byref(none))
    _libc.sigemptyset(ctypes.byref(defaults))
    for number in _DEFAULTS:
        _libc.sigaddset(ctypes.byref(defaults), int(number))
    _check(_libc.posix_spawnattr_init(ctypes.byref(attributes)))
    _check(_libc.posix_spawnattr_setsigmask(ctypes.byref(attributes), ctypes.byref(none)))
    _check(_libc.posix_spawnattr_setsigdefault(ctypes.byref(attributes), ctypes.byref(defaults)))
    flags = ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID)
    _check(_libc.posix_spawnattr_setflags(ctypes.byref(attributes), flags))
    return attributes


_attributes = _make_attributes()
