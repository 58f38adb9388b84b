"""Move bytes between a connection and one place of a file: inside the kernel where it can, a little at a time where it cannot."""

import contextlib
import fcntl
import os
import select
import socket
import ssl
import time
from collections.abc import Callable

from tesk.storage.answer import Answer
from tesk.storage.wire import readable

_PIECE_BYTES = 1024 * 1024
_SMALL_BYTES = 256 * 1024
"""To make a pipe for so little costs more than it saves; and a buffer of so much stays in the cache."""


def pour(
    answer: Answer, target: int, begin: int, size_bytes: int, moved: Callable[[int], None], *, timeout_seconds: float
) -> None:
    """Write the next `size_bytes` of a body of known length to `target` at `begin`; `moved` is told of each piece there.

    Comes back early where the line ends early. Raises OSError, Again for a line too slow, and what `moved` raises.
    """
    if isinstance(answer.line, ssl.SSLSocket) or size_bytes <= _SMALL_BYTES:
        buffer = memoryview(bytearray(min(_SMALL_BYTES, size_bytes)))
        while size_bytes and (count := answer.readinto(buffer[: min(len(buffer), size_bytes)])):
            write(target, buffer[:count], begin)
            begin, size_bytes = begin + count, size_bytes - count
            moved(count)
        return
    if size_bytes:
        early = answer.read1(min(_PIECE_BYTES, size_bytes))  # what came with the headers lies in Python's buffer
        write(target, early, begin)
        begin, size_bytes = begin + len(early), size_bytes - len(early)
        moved(len(early))
    if size_bytes and not answer.isclosed():
        _splice(answer, target, begin, size_bytes, moved, timeout_seconds=timeout_seconds)


def _splice(
    answer: Answer, target: int, begin: int, left: int, moved: Callable[[int], None], *, timeout_seconds: float
) -> None:
    assert answer.length is not None
    out, into = os.pipe2(os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a user may have too many large pipes
            fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _PIECE_BYTES)
        since = time.monotonic()
        while left:
            try:
                count = os.splice(answer.line.fileno(), into, min(left, _PIECE_BYTES))
            except BlockingIOError:
                if not readable(answer.line, timeout_seconds):
                    raise TimeoutError from None
                continue
            if count == 0:
                return
            answer.pace.moved(count, since)
            waiting = count
            while waiting:
                written = os.splice(out, target, waiting, offset_dst=begin)
                begin, waiting = begin + written, waiting - written
            left -= count
            answer.length -= count
            moved(count)
            since = time.monotonic()
    finally:
        os.close(out)
        os.close(into)
    if answer.length == 0:
        answer.close()


def send(
    line: socket.socket,
    source: int,
    begin: int,
    size_bytes: int,
    moving: Callable[[int], None],
    *,
    timeout_seconds: float,
) -> int:
    """Send `size_bytes` of `source` from `begin`; return how many there were. `moving` is told of each piece before it goes."""
    at, end = begin, begin + size_bytes
    poll = select.poll()
    poll.register(line, select.POLLOUT)
    while at < end:
        wanted = min(_PIECE_BYTES, end - at)
        moving(wanted)
        stop = at + wanted
        while at < stop:
            if isinstance(line, ssl.SSLSocket):
                piece = os.pread(source, stop - at, at)
                line.sendall(piece)
                count = len(piece)
            else:
                try:
                    count = os.sendfile(line.fileno(), source, at, stop - at)
                except BlockingIOError:
                    if not poll.poll(timeout_seconds * 1000):
                        raise TimeoutError from None
                    continue
            if count == 0:
                return at - begin
            at += count
    return size_bytes


def write(target: int, data: bytes | memoryview, begin: int) -> None:
    """Write all of `data` at `begin`."""
    written = 0
    while written < len(data):
        written += os.pwrite(target, data[written:], begin + written)
