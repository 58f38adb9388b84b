"""Print what an executor writes while it does, to its end, over connections that may break: each byte once."""

import sys
import time
from collections.abc import Callable

from tesk.cli.output import talk
from tesk.cli.session import Session
from tesk.cli.wait import PATIENCE
from tesk.client.answers import Document, list_of, text_of
from tesk.errors import NotFound, RequestError, Unreachable
from tesk.tes.state import TERMINAL

_BROKEN = frozenset({429, 502, 503, 504})
"""What a server that begins or ends is answered for, by itself or by what stands before it."""
_FIRST_PAUSE_SECONDS = 0.5
_LAST_PAUSE_SECONDS = 10.0
_STOOD_SECONDS = 20.0
"""What stands between may break a stream off in which nothing is said for so long: the server is well."""
_HEAD_BYTES = 1024


class Printed:
    """What was printed of one executor's stream, so that of a stream that starts anew only the rest is."""

    def __init__(self, write: Callable[[bytes], None], told: Callable[[str], None]) -> None:
        self._write = write
        self._told = told
        self._attempt = 0
        self._head = b""
        self._at = self._left = 0
        self.size_bytes = 0

    def begins(self, attempt: int) -> None:
        """Hear that the stream starts, of this attempt."""
        if attempt != self._attempt:
            self._attempt, self._head, self.size_bytes = attempt, b"", 0
        self._at, self._left = 0, self.size_bytes

    def heard(self, piece: bytes) -> None:
        """Print what is new of it."""
        if self._left:
            known = self._head[self._at :][: len(piece)]
            if not piece.startswith(known):
                self._told("the stream begins elsewhere now (a node keeps only the last part of long ones): here it is")
                piece, self._head, self._left, self.size_bytes = self._head[: self._at] + piece, b"", 0, 0
            else:
                old = min(len(piece), self._left)
                self._at, self._left, piece = self._at + len(piece), self._left - old, piece[old:]
        self._head += piece[: _HEAD_BYTES - len(self._head)]
        self.size_bytes += len(piece)
        if piece:
            self._write(piece)


def attempt_of(task: Document) -> int:
    """Return the number of the attempt whose streams are there, or will be."""
    logs = list_of(task, "logs")
    lost = logs and text_of(logs[-1], "end_time") and text_of(task, "state") not in TERMINAL
    return len(logs) + bool(lost)


def follow(session: Session, task_id: str, executor: int, stream: str, attempt: int) -> None:
    """Print one stream to its end. Raises NotFound where the server is not ours, Unreachable when it is gone for too long."""
    printed = Printed(_print, talk)
    patient = session.patient(PATIENCE)
    paused, pause, told = 0.0, _FIRST_PAUSE_SECONDS, False
    while True:
        printed.begins(attempt)
        before, began = printed.size_bytes, time.monotonic()
        try:
            session.ask(session.calls.logs(task_id, executor, stream=stream, follow=True, heard=printed.heard))
        except NotFound:
            if paused:
                break  # the task was removed meanwhile, or what is before the server is not ready
            raise
        except (Unreachable, RequestError) as error:
            if isinstance(error, RequestError) and error.status not in _BROKEN:
                raise
            told = told and printed.size_bytes == before
            if printed.size_bytes > before or time.monotonic() > began + _STOOD_SECONDS:
                paused, pause = 0.0, _FIRST_PAUSE_SECONDS
            if paused > PATIENCE.gone:
                raise
            if not told:
                talk(f"the stream broke off: {error}; asking again for {PATIENCE.gone:.0f} s")
                told = True
        else:
            break
        time.sleep(pause)
        paused, pause = paused + pause, min(pause * 2, _LAST_PAUSE_SECONDS)
        task = patient.ask(patient.calls.get(task_id, "FULL"))
        attempt = attempt_of(task)
        if text_of(task, "state") in TERMINAL:
            printed.begins(attempt)
            _print_rest((list_of(task, "logs") or [{}])[-1], executor, stream, printed.size_bytes)
            break


def _print_rest(log: Document, executor: int, stream: str, printed: int) -> None:
    """Print what is kept of an attempt that ended meanwhile, less what was printed."""
    names = ("stdout", "stderr") if stream == "combined" else (stream,)
    one = (list_of(log, "logs")[executor:] or [{}])[0]
    texts = {name: text_of(one, name).encode("utf-8", "replace") for name in names}
    sizes = {
        name: max(int(said) if said.isdecimal() else 0, len(text))
        for name, text in texts.items()
        for said in (text_of(log, "metadata", f"executors.{executor}.{name}_size_bytes"),)
    }
    if sum(sizes.values()) <= printed:
        return
    written = [name for name in names if sizes[name]]
    if len(written) > 1 and printed:
        talk(
            f"executor {executor} ended meanwhile; what it wrote last to stdout and stderr, each by itself: `tesk logs`"
        )
        return
    for name in written:
        gone = sizes[name] - len(texts[name])
        if gone > printed:
            talk(f"{gone - printed} bytes of {name} of executor {executor} are not kept")
        _print(texts[name][max(0, printed - gone) :])


def _print(piece: bytes) -> None:
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
