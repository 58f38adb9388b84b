"""Bring one file in over HTTP: resumed when the line breaks, two versions never mixed, in parts where that is quicker.

One connection brings the file from its start. While it is slower than a line can be, another one takes over the second half
of what is still missing, and so on for as long as the last one made it quicker.
"""

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Mapping

from tesk.errors import TransferError
from tesk.storage import digest
from tesk.storage.answer import Answer
from tesk.storage.patience import Again, Patience
from tesk.storage.pour import pour, write
from tesk.storage.scheme import Advance
from tesk.storage.wire import Wire, check

_SLICE_BYTES = 8 * 1024 * 1024
"""Half of the least part: what is being moved is never in the half that another connection takes over."""
_BUFFER_BYTES = 256 * 1024
_PARTS_FROM_BYTES = 64 * 1024 * 1024
_PART_LEAST_BYTES = 16 * 1024 * 1024
_LOOK_SECONDS = 0.5
_FAST_BYTES_PER_SECOND = 1e9
"""A connection that is as quick as this is held up by the machine, not by the line: more of them would only cost more."""
_HELPS = 1.1
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)\Z")


class _Part:
    """A stretch of the file that one connection brings. `end` None: not known yet. It comes nearer when another takes the rest."""

    def __init__(self, at: int, end: int | None) -> None:
        self.at = at
        self.end = end

    @property
    def missing(self) -> bool:
        return self.end is None or self.at < self.end


def download(
    wire: Wire, patience: Patience, url: str, target: int, advance: Advance, *, own: Mapping[str, str] | None = None
) -> int:
    """Bring what lies at `url` into the empty regular file `target`; return its size in bytes, which was verified.

    So was its checksum, where the server names one. `own` headers go to the URL's own server only. Raises TransferRefused or
    TransferFailed. `advance` may be called from several threads.
    """
    whole = _Download(wire, url, target, advance, own)
    patience.act(url, whole.proceed, advance=advance, done=lambda: whole.done)
    return whole.done


class _Download:
    """How far one file is, over all tries. `validator` is what If-Range takes, so that two versions are never mixed."""

    def __init__(self, wire: Wire, url: str, target: int, advance: Advance, own: Mapping[str, str] | None) -> None:
        self._wire = wire
        self._url = url
        self._target = target
        self._advance = advance
        self._own = own
        self._lock = threading.Lock()
        self.done = 0
        self._begin_anew()
        self._stopped = False
        self._helpers: list[threading.Thread] = []
        self._lines: set[socket.socket] = set()

    def _begin_anew(self) -> None:
        if self.done:
            self._advance(-self.done)
        self.done = 0
        self._total: int | None = None
        self._validator: str | None = None
        self._digest: digest.Digest | None = None
        self._in_parts = False
        self._waiting = [_Part(0, None)]
        self._moving: list[_Part] = []
        self._changed = False

    def proceed(self) -> None:
        """One try at what is still missing."""
        if self._changed:
            self._begin_anew()
        self._stopped = False
        self._look_at = time.monotonic() + _LOOK_SECONDS
        self._seen, self._rate, self._more = self.done, 0.0, True
        try:
            while self._waiting or self._helpers:
                while (part := self._next()) is not None:
                    self._bring(part, helps=False)
                self._join()  # what one of them left is waiting now
        finally:
            self._stopped = True
            with self._lock:
                for line in self._lines:
                    # A method of TLS would take the state of its connection from who reads it just now.
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(line, socket.SHUT_RDWR)
            self._join()
        os.ftruncate(self._target, self.done)
        if self._digest is not None:
            found = digest.of(self._target, self._digest.name, self._advance)
            if found != self._digest:
                self._changed = True
                raise Again(f"the server names {self._digest} for it, but sent {found}")

    def _join(self) -> None:
        while self._helpers:
            self._helpers.pop().join()

    def _help(self) -> None:
        try:
            while (part := self._next()) is not None:
                self._bring(part, helps=True)
        except (Again, OSError, TransferError):
            self._more = False  # the first connection meets the same, if it is more than a line that broke

    def _next(self) -> _Part | None:
        """A part that waits, or the second half of the longest that moves."""
        with self._lock:
            if self._waiting:
                part = self._waiting.pop(0)
            else:
                longest = max(self._moving, key=lambda one: (one.end or 0) - one.at, default=None)
                if not self._in_parts or longest is None or longest.end is None:
                    return None
                if longest.end - longest.at < 2 * _PART_LEAST_BYTES:
                    return None
                middle = (longest.at + longest.end) // 2  # far ahead of what its connection moves at this moment
                part = _Part(middle, longest.end)
                longest.end = middle
            self._moving.append(part)
            return part

    def _bring(self, part: _Part, *, helps: bool) -> None:
        """Bring a part, or raise and leave what is missing of it to the next."""
        try:
            self._ask(part, helps=helps)
        finally:
            with self._lock:
                if part in self._moving:
                    self._moving.remove(part)
                    if part.missing:
                        self._waiting.append(part)

    def _ask(self, part: _Part, *, helps: bool) -> None:
        headers = {}
        ranged = self._validator is not None and (part.at > 0 or part.end != self._total)
        if ranged:
            last = "" if part.end in {None, self._total} else (part.end or 0) - 1
            headers = {"Range": f"bytes={part.at}-{last}", "If-Range": self._validator or ""}
        with self._wire.ask(self._url, "GET", headers, own=self._own, at_once=helps) as answer:
            if answer.status == 416 and ranged:
                self._changed = True
                raise Again("the file became shorter while it was read")
            check(answer, self._url)
            if answer.status == 206:
                self._check_part(answer, part)
            else:
                if self.done or helps:
                    if helps or self._helpers:
                        self._changed = not helps
                        raise Again("the server sent the whole file, not the part that was asked for")
                    self._begin_anew()
                    part.at, part.end = 0, None
                    self._waiting, self._moving = [], [part]
                self._learn(answer, part)
            with self._lock:
                self._lines.add(answer.line)
            try:
                if answer.length is None:
                    self._read_to_the_end(answer, part)
                else:
                    self._read(answer, part, helps=helps)
            finally:
                with self._lock:
                    self._lines.discard(answer.line)
            if part.missing:
                raise Again(f"the line broke after {self.done} of {self._total} bytes")

    def _check_part(self, answer: Answer, part: _Part) -> None:
        said = _CONTENT_RANGE.match(answer.header("Content-Range"))
        tag = answer.header("ETag")
        if (
            said is None
            or int(said[1]) != part.at
            or (said[2] != "*" and self._total not in {None, int(said[2])})
            or (tag and tag != self._validator and (self._validator or "").startswith('"'))
        ):
            self._changed = True
            raise Again("the server sent another part than was asked for")
        if part.end is None and said[2] != "*":
            self._total = part.end = int(said[2])
        elif part.end is None and answer.length is not None:
            self._total = part.end = part.at + answer.length

    def _learn(self, answer: Answer, part: _Part) -> None:
        """Take from an answer that holds the whole file what it says of it."""
        self._total = part.end = answer.length
        tag = answer.header("ETag")
        self._validator = tag if tag.startswith('"') else answer.header("Last-Modified") or None
        self._digest = digest.named(
            of_file=(answer.header("Repr-Digest"), answer.header("Digest")),
            of_answer=(answer.header("Content-Digest"), answer.header("Content-MD5")),
        )
        self._in_parts = (
            tag.startswith('"')
            and "bytes" in answer.header("Accept-Ranges").lower()
            and (answer.length or 0) >= _PARTS_FROM_BYTES
        )

    def _moved(self, part: _Part, count: int) -> None:
        part.at += count
        with self._lock:
            self.done += count
        self._advance(count)
        if self._stopped:
            raise Again("stopped")

    def _consider_help(self) -> None:
        """See how quick it is; take one more connection while the last one helped."""
        now = time.monotonic()
        if now < self._look_at:
            return
        rate = (self.done - self._seen) / (now - self._look_at + _LOOK_SECONDS)
        self._look_at, self._seen = now + _LOOK_SECONDS, self.done
        self._more = self._more and _HELPS * self._rate < rate < _FAST_BYTES_PER_SECOND
        if self._in_parts and self._more and len(self._helpers) < self._wire.connections_per_host - 1:
            self._rate = rate
            self._helpers.append(threading.Thread(target=self._help, daemon=True))
            self._helpers[-1].start()

    def _read(self, answer: Answer, part: _Part, *, helps: bool) -> None:
        """Move a body of known length, a slice at a time: what is left of the part may become less meanwhile."""

        def moved(count: int) -> None:
            self._moved(part, count)
            if not helps:
                self._consider_help()

        while answer.length and part.missing:
            end = min(part.at + _SLICE_BYTES, part.at + answer.length, part.end or 0)
            pour(answer, self._target, part.at, end - part.at, moved, timeout_seconds=self._wire.timeout_seconds)
            if part.at < end:
                return

    def _read_to_the_end(self, answer: Answer, part: _Part) -> None:
        """Read a body whose length its server does not say; that of the part may be known all the same."""
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        while part.missing and (count := answer.readinto(buffer)):
            if part.end is not None:
                count = min(count, part.end - part.at)
            write(self._target, buffer[:count], part.at)
            self._moved(part, count)
        if part.end is None:
            part.end = self._total = part.at
