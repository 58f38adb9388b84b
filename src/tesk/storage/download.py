"""Bring one file in over HTTP: resumed when the line breaks, two versions never mixed, moved by the kernel where it can be."""

import contextlib
import fcntl
import os
import re
import ssl
from collections.abc import Mapping

from tesk.storage.patience import Again, Patience
from tesk.storage.scheme import Advance
from tesk.storage.wire import Answer, Wire, check, readable

_PIPE_BYTES = 1024 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")


class _Download:
    """How far one file is, over all tries. `validator` is what If-Range takes, so that two versions are never mixed."""

    def __init__(self, target: int, advance: Advance) -> None:
        self.target = target
        self.advance = advance
        self.done = 0
        self.validator: str | None = None

    def moved(self, count: int) -> None:
        self.done += count
        self.advance(count)

    def restart(self) -> None:
        os.ftruncate(self.target, 0)
        lost, self.done = self.done, 0
        self.advance(-lost)


def download(
    wire: Wire, patience: Patience, url: str, target: int, advance: Advance, *, own: Mapping[str, str] | None = None
) -> int:
    """Bring what lies at `url` into the empty regular file `target`; return its size in bytes, which was verified.

    `own` headers go to the URL's own server only. Raises TransferRefused or TransferFailed.
    """
    state = _Download(target, advance)
    patience.act(url, lambda: _continue(wire, url, state, own), advance=advance, done=lambda: state.done)
    return state.done


def _continue(wire: Wire, url: str, state: _Download, own: Mapping[str, str] | None) -> None:
    """One try at what is still missing of a file."""
    headers = {}
    if state.done and state.validator:
        headers = {"Range": f"bytes={state.done}-", "If-Range": state.validator}
    with wire.ask(url, "GET", headers, own=own) as answer:
        if answer.status == 416 and state.done:
            state.restart()
            raise Again("the file became shorter while it was read")
        check(answer, url)
        total: int | None = None
        if answer.status == 206:
            part = _CONTENT_RANGE.match(answer.header("Content-Range"))
            if part is None or int(part[1]) != state.done:
                state.restart()
                raise Again("the server sent another part than was asked for")
            total = int(part[2]) if part[2] != "*" else None
        elif state.done:
            state.restart()
        tag = answer.header("ETag")
        state.validator = tag if tag.startswith('"') else answer.getheader("Last-Modified")
        if total is None and answer.length is not None:
            total = state.done + answer.length
        os.lseek(state.target, state.done, os.SEEK_SET)
        if answer.length is not None and not isinstance(answer.line, ssl.SSLSocket):
            _splice(answer, state, wire.timeout_seconds)
        else:
            _read(answer, state)
        if total is not None and state.done != total:
            raise Again(f"the line broke after {state.done} of {total} bytes")


def _splice(answer: Answer, state: _Download, timeout_seconds: float) -> None:
    """Move a body of known length from the socket to the file inside the kernel, through a pipe."""
    left = answer.length or 0
    if left:
        early = answer.read1(_PIPE_BYTES)  # what came with the headers lies in Python's buffer; this empties it
        _write(state.target, early)
        state.moved(len(early))
        left -= len(early)
    out, into = os.pipe2(os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a user may have too many large pipes
            fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        while left:
            try:
                count = os.splice(answer.line.fileno(), into, min(left, _PIPE_BYTES))
            except BlockingIOError:
                if not readable(answer.line, timeout_seconds):
                    raise Again(f"the server was silent for {timeout_seconds:.0f} s") from None
                continue
            if count == 0:
                return
            waiting = count
            while waiting:
                waiting -= os.splice(out, state.target, waiting)
            left -= count
            state.moved(count)
    finally:
        os.close(out)
        os.close(into)
    answer.close()


def _read(answer: Answer, state: _Download) -> None:
    buffer = memoryview(bytearray(_PIPE_BYTES))
    while count := answer.readinto(buffer):
        _write(state.target, buffer[:count])
        state.moved(count)


def _write(target: int, data: bytes | memoryview) -> None:
    written = 0
    while written < len(data):
        written += os.write(target, data[written:])
