"""Serve named pipes while executors run: whoever opens one gets the file from its start.

A pipe knows nothing of who reads it, so each gets one reader: when somebody has opened it, a new one takes its place for
the next. A source that fails in the middle never ends a pipe, since its reader would take the part for the whole: the
failure is told, and the pipe stays open until somebody has killed the reader.
"""

import contextlib
import os
import posixpath
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tesk.errors import TransferError, TransferFailed, TransferRefused
from tesk.inside import Inside
from tesk.stager.job import Job
from tesk.stager.meter import Meter
from tesk.stager.parallel import Stop
from tesk.stager.readers import readers
from tesk.stager.report import moved, report, told
from tesk.storage.scheme import Streams
from tesk.storage.schemes import Schemes
from tesk.storage.url import shown
from tesk.transfer import Fetch, Moved, Progress, TransferReport


class _ReaderLeft(TransferError):  # noqa: N818  it is no error
    """Nobody reads any more, as is a program's right."""


def serve(job: Job, say: Callable[[Progress | TransferReport], None], over: Callable[[], object]) -> None:
    """Serve the pipes of a job until `over` returns; `say` what there is to say, the report last."""
    stop = Stop()
    meter = Meter("inputs", stop, limit_bytes=job.settings.input_bytes_limit)
    schemes, inside = Schemes(job.settings, job.transfers.caller), Inside(Path(job.root))
    mode = 0o644 if job.transfers.anybody else 0o600
    feed = Feed(schemes, inside, owner=job.owner, mode=mode, meter=meter, broken=say)
    with meter.telling(say):
        feed.begin([fetch for fetch in job.transfers.inputs if fetch.index in job.transfers.pipes])
        over()
    stop.ask()
    say(feed.report())


class Feed:
    """Serves the pipes of `inputs` from threads that end with the program. `broken` hears what fails, at once."""

    def __init__(
        self,
        schemes: Schemes,
        inside: Inside,
        *,
        owner: tuple[int, int] | None,
        mode: int,
        meter: Meter,
        broken: Callable[[TransferReport], None],
    ) -> None:
        self._schemes = schemes
        self._inside = inside
        self._owner = owner
        self._mode = mode
        self._meter = meter
        self._broken = broken
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._read: list[Moved] = []
        self._errors: list[TransferError] = []

    def begin(self, inputs: Sequence[Fetch]) -> None:
        """Wait for readers from now on."""
        self._meter.expect([None] * len(inputs))
        for fetch in inputs:
            path = "/" + posixpath.normpath(fetch.path).lstrip("/")
            try:
                pipe = self._inside.find_pipe(path)
            except OSError as error:
                self._fail(told(error, path))
            else:
                self._wait_for_reader(fetch, path, pipe)

    def report(self) -> TransferReport:
        """Return what was read until now, and what broke."""
        with self._lock:
            return report([*self._read], {}, [], [*self._errors], self._began)

    def _wait_for_reader(self, fetch: Fetch, path: str, pipe: int) -> None:
        threading.Thread(target=self._serve, args=(fetch, path, pipe), daemon=True).start()

    def _serve(self, fetch: Fetch, path: str, pipe: int) -> None:
        # Opened by what it is, not by its name: nobody can put something else in its place. Blocks until it is read.
        line = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            following = self._inside.make_pipe(path, self._owner, mode=self._mode, instead=pipe)
        except OSError:
            pass  # the program has removed it: then nobody comes after this one
        else:
            self._wait_for_reader(fetch, path, following)
        os.close(pipe)
        try:
            self._pour(fetch, line, path)
            _check_alone(line, path)  # nobody sees an end before this
        except TransferError as error:
            self._fail(error)  # and leave it open
        except BaseException:
            self._fail(TransferFailed(f"{path}: a fault of the stager's own came in between"))
            raise
        else:
            os.close(line)

    def _pour(self, fetch: Fetch, line: int, path: str) -> None:
        url = fetch.url or ""
        scheme = self._schemes.of(url)
        if not isinstance(scheme, Streams):
            raise TransferRefused(f"{shown(url)}: cannot come as a stream")
        given = 0
        with self._meter.one(None) as one:

            def take(data: bytes | memoryview) -> None:
                nonlocal given
                one.advance(len(data))
                if data and not given:
                    _check_alone(line, path)  # as late as can be: the second one may be on its way
                left = memoryview(data)
                while left:
                    try:
                        count = os.write(line, left)
                    except BrokenPipeError:
                        raise _ReaderLeft from None
                    left = left[count:]
                    given += count

            with contextlib.suppress(_ReaderLeft):
                scheme.stream(url, take)
            one.done(given)
        with self._lock:
            self._read.append(moved(fetch.index, url, fetch.path, given))

    def _fail(self, error: TransferError) -> None:
        with self._lock:
            self._errors.append(error)
        self._broken(self.report())


def _check_alone(line: int, path: str) -> None:
    """Refuse two who opened it before another took its place: each would get parts."""
    if readers(line) > 1:
        raise TransferRefused(
            f"{shown(path)}: was opened twice at the same moment, which a named pipe cannot be; "
            "leave `streamable` out of this input"
        )
