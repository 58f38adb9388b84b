"""Try what may work another time again: how often, after which waits, and in which words it is given up. For every scheme.

A scheme does one whole try in a function without arguments, and has it acted until it works:

    patience = Patience(settings.tries)
    patience.act(url, lambda: self._one_try(url, download), advance=advance, done=lambda: download.bytes)

The try raises `Again` for what another try may mend and that is the scheme's own to know (a 503, a short file, a library's
error that means a broken line), TransferRefused or TransferFailed for what is final (also what `advance` raises), and may
let any OSError out: a broken or silent line is tried again, a full disk here and a certificate that is not trusted are not.
"""

import errno
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from msgspec import Struct

from tesk.errors import TransferFailed, TransferRefused
from tesk.storage.scheme import Advance
from tesk.storage.url import shown

T = TypeVar("T")
Hear = Callable[[str, float], None]
"""Is told what failed and is tried again, and after how many seconds."""
_hearing: list[Hear] = []

_WAIT_MAX_SECONDS = 60.0
_AFTER_MAX_SECONDS = 300.0
_LOOK_SECONDS = 0.5
_PROGRESS_BYTES = 1024 * 1024
"""After so many new bytes a broken line counts as the first one again: a long transfer over a poor line ends at last."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Again(Exception):  # noqa: N818  a word between two loops, no error that anybody sees
    """One try failed in a way that another may not: `reason`, to follow "URL: ". `after_seconds`: what the server asked for."""

    def __init__(self, reason: str, after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds


def wanted(size_bytes: int) -> None:
    """Be the `Advance` of what nobody can stop."""


def sleep(seconds: float, advance: Advance) -> None:
    """Sleep, but not longer than the transfer is wanted: `advance` raises when it no longer is."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_SECONDS))
        advance(0)


@contextmanager
def hearing(hear: Hear) -> Iterator[None]:
    """Tell `hear` within the block of all that is tried again, by whatever scheme and thread of this program."""
    _hearing.append(hear)
    try:
        yield
    finally:
        _hearing.remove(hear)


class Patience(Struct, frozen=True):
    """How often something is tried (`tries`), and how to wait between (`wait`: seconds, and an Advance to look at)."""

    tries: int = 5
    wait: Callable[[float, Advance], object] = sleep

    def act(
        self, url: str, act: Callable[[], T], *, advance: Advance = wanted, done: Callable[[], int] = lambda: 0
    ) -> T:
        """Act until it works, or fails for good, or has failed too often (TransferFailed).

        `done` says how many bytes are there: new ones set the count of failures back. Messages name `url` as it may be shown.
        """
        failures = best = 0
        began = time.monotonic()
        while True:
            after_seconds = None
            try:
                return act()
            except Again as again:
                reason, after_seconds = str(again), again.after_seconds
            except ssl.SSLCertVerificationError as error:
                raise TransferRefused(
                    f"{shown(url)}: its certificate is not trusted here ({error.verify_message})"
                ) from error
            except OSError as error:
                if error.errno in _FULL:
                    raise TransferFailed(f"{shown(url)}: the disk is full here ({error.strerror})") from error
                reason = _words(error)
            if done() >= best + _PROGRESS_BYTES:
                best, failures = done(), 0
            failures += 1
            if failures >= self.tries:
                tried = f"tried {failures} times in {time.monotonic() - began:.0f} s"
                raise TransferFailed(
                    f"{shown(url)}: {reason}; {tried}. Is the server up, and can this machine reach it?"
                )
            # Full jitter: many tasks that lose the same server do not come back to it in step.
            jittered = random.uniform(0, min(_WAIT_MAX_SECONDS, 0.5 * 2**failures))
            seconds = jittered if after_seconds is None else min(after_seconds, _AFTER_MAX_SECONDS) + jittered / 10
            for hear in _hearing:
                hear(f"{shown(url)}: {reason}; try {failures + 1} of {self.tries} follows", seconds)
            self.wait(seconds, advance)


def _words(error: OSError) -> str:
    match error:
        case socket.gaierror():
            return f"its host name cannot be looked up ({error.strerror})"
        case TimeoutError():
            return "the server is silent"
        case (
            ConnectionResetError()
            | BrokenPipeError()
            | ssl.SSLEOFError()
            | ssl.SSLError(reason="UNEXPECTED_EOF_WHILE_READING")
        ):
            return "the line broke"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            return "what it answers is no TLS"
        case _:
            return error.strerror or str(error)
