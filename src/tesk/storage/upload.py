"""Store one open file by PUT: whole, from its start again when the line breaks, moved by the kernel where it can be."""

import contextlib
import os
import socket

from tesk.errors import TransferError, TransferFailed, TransferRefused
from tesk.storage import digest
from tesk.storage.patience import Again, Patience
from tesk.storage.pour import send
from tesk.storage.scheme import Advance
from tesk.storage.url import shown
from tesk.storage.wire import Wire, check, hang_up

_SMALL_BYTES = 1024 * 1024
_STORED = frozenset({200, 201, 204})
_NO_FOLDER = frozenset({404, 409})
"""What servers say where the folder of a new file is not there; RFC 4918, 9.7.1 wants 409."""
_WORDS = {
    401: "it wants credentials (setting storage.http, host = '{}')",
    403: "it does not let us store this; other credentials may help (setting storage.http)",
    404: "it has no folder for it and makes none, or has a folder of this very name",
    405: "it takes no file here",
    409: "it has no folder for it and makes none, or has a folder of this very name",
    413: "it takes no file of this size",
    501: "it takes no files",
    507: "it has no room left",
}


class NoFolder(TransferRefused):
    """The server has no folder for the file."""


class _Upload:
    """One file on its way. `half`: the server may have a part of it, and may show it."""

    def __init__(self, source: int, url: str, advance: Advance, timeout_seconds: float) -> None:
        self.source = source
        self.url = url
        self.advance = advance
        self.timeout_seconds = timeout_seconds
        self.size = os.fstat(source).st_size
        self.sent = 0
        self.expect = self.size > _SMALL_BYTES  # what is small has been sent before most servers say that they want it
        self.half = False

    def send(self, line: socket.socket) -> None:
        """Write the body to a connection."""
        self.forget()
        self.half = True
        try:
            sent = send(line, self.source, 0, self.size, self._moving, timeout_seconds=self.timeout_seconds)
            if sent < self.size:
                raise TransferFailed(
                    f"{shown(self.url)}: the file became shorter while it was sent ({sent} of {self.size} bytes)"
                )
        except TransferError:
            hang_up(line)
            raise

    def _moving(self, count: int) -> None:
        """What is about to go; a transfer that is stopped here has not been sent whole."""
        self.sent += count
        self.advance(count)

    def forget(self) -> None:
        """What was sent was in vain."""
        if self.sent:
            lost, self.sent = self.sent, 0
            self.advance(-lost)


def upload(wire: Wire, patience: Patience, source: int, url: str, advance: Advance) -> int:
    """Store the open regular file `source` at `url`; return its size in bytes.

    Raises NoFolder, TransferRefused or TransferFailed; then nothing readable is left, as far as the server lets us see to it.
    """
    state = _Upload(source, url, advance, wire.timeout_seconds)
    try:
        patience.act(url, lambda: _once(wire, url, state), advance=advance)
    finally:
        if state.half:
            # Most servers show a file only when it is whole. Of one that does not, or may not have, nothing shall be left.
            with contextlib.suppress(TransferRefused, Again, OSError), wire.ask(url, "DELETE"):
                pass
    return state.size


def _once(wire: Wire, url: str, state: _Upload) -> None:
    """One try at the whole file."""
    headers = {"Content-Length": str(state.size), "Content-Type": "application/octet-stream"}
    if state.expect:
        headers["Expect"] = "100-continue"
    with wire.ask(url, "PUT", headers, send=state.send, expects=state.expect) as answer:
        if answer.status == 417 and state.expect:
            state.expect = False
            raise Again("the server cannot say beforehand whether it wants a file")
        state.half = state.half and answer.status >= 500
        try:
            check(answer, url, fine=_STORED, words=_WORDS)
        except TransferRefused as error:
            if answer.status not in _NO_FOLDER:
                raise
            state.forget()
            raise NoFolder(str(error)) from error
    if state.size > _SMALL_BYTES:
        _look(wire, url, state)


def _look(wire: Wire, url: str, state: _Upload) -> None:
    """Raise Again where the server says that it has another file now. What it does not say, or not to us, is no fault."""
    try:
        with wire.ask(url, "HEAD") as answer:
            if answer.status != 200 or answer.header("Content-Encoding"):
                return
            size = answer.content_length()
            said = digest.named(
                of_file=(answer.header("Repr-Digest"), answer.header("Digest")),
                of_answer=("", answer.header("Content-MD5")),
            )
    except (Again, OSError, TransferRefused):
        return
    if size not in {None, state.size}:
        state.half = True
        raise Again(f"the server has {size} bytes of it now, but {state.size} were sent")
    found = digest.of(state.source, said.name, state.advance) if said is not None else None
    if found != said:
        state.half = True
        raise Again(f"the server names {said} for it now, but {found} was sent")
