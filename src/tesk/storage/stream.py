"""Give the bytes of one file in order over HTTP, for who cannot wait for all of it: taken up again where the line broke."""

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Literal

from tesk.errors import TransferFailed
from tesk.storage.answer import Answer
from tesk.storage.patience import Again, Patience
from tesk.storage.scheme import Take
from tesk.storage.url import shown

_BUFFER_BYTES = 256 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)\Z")
_CHANGED = frozenset({412, 416})


def stream(
    ask: Callable[[Mapping[str, str]], AbstractContextManager[Answer]],
    check: Callable[[Answer], None],
    patience: Patience,
    url: str,
    take: Take,
    *,
    condition: Literal["If-Match", "If-Range"],
) -> int:
    """Give every byte at `url` once to `take`; return how many, which is as many as the server said.

    `ask` asks for the file with further headers, `check` raises for an answer that is none. `condition`: how this kind of
    server is told to go on with the same version only. What was given cannot be taken back, so a file that changed, and
    a line that broke where the server cannot go on, is TransferFailed.
    """
    file = _Stream(ask, check, url, take, condition)
    patience.act(url, file.proceed, advance=file.wanted, done=lambda: file.at)
    return file.at


class _Stream:
    """How much of it was given, over all tries."""

    def __init__(
        self,
        ask: Callable[[Mapping[str, str]], AbstractContextManager[Answer]],
        check: Callable[[Answer], None],
        url: str,
        take: Take,
        condition: str,
    ) -> None:
        self._ask = ask
        self._check = check
        self._url = url
        self._take = take
        self._condition = condition
        self._total: int | None = None
        self._validator = ""
        self.at = 0

    def wanted(self, size_bytes: int) -> None:  # noqa: ARG002  an Advance is told of bytes
        """Raise where the bytes are not wanted any more."""
        self._take(b"")

    def proceed(self) -> None:
        """One try at what is still missing."""
        headers = {}
        if self.at and self._validator:
            headers = {"Range": f"bytes={self.at}-", self._condition: self._validator}
        with self._ask(headers) as answer:
            if self.at and answer.status in _CHANGED:
                raise self._failed("it changed while it was read")
            self._check(answer)
            again = self._begin(answer)
            self._give(answer, again)
        if self._total is not None and self.at != self._total:
            raise Again(f"the line broke after {self.at} of {self._total} bytes")

    def _begin(self, answer: Answer) -> int:
        """Look at what comes; return how much of it was given already."""
        tag, changed = answer.header("ETag"), answer.header("Last-Modified")
        validator = tag if tag.startswith('"') else changed if self._condition == "If-Range" else ""
        if answer.status == 206:
            said = _CONTENT_RANGE.match(answer.header("Content-Range"))
            if said is None or int(said[1]) != self.at or (said[2] != "*" and self._total not in {None, int(said[2])}):
                raise self._failed("the server sent another part than was asked for")
            if self._total is None and said[2] != "*":
                self._total = int(said[2])  # nobody asked for a part, and it may be one all the same
            return 0
        if self.at and (not validator or validator != self._validator):
            raise self._failed("the line broke, and the server cannot go on with the same version")
        self._validator = validator
        self._total = answer.length
        return self.at

    def _give(self, answer: Answer, again: int) -> None:
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        while count := answer.readinto(buffer[:again] if again else buffer):
            if again:
                again -= min(again, count)
                self._take(b"")
                continue
            self._take(buffer[:count])
            self.at += count

    def _failed(self, why: str) -> TransferFailed:
        return TransferFailed(f"{shown(self._url)}: {why} (after {self.at} bytes, which the program has read)")
