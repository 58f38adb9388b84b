"""The Stager of a backend on this host: small work in a thread, the rest in a program of its own that can be killed."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from msgspec import DecodeError, json, structs

from tesk.settings import StorageSettings
from tesk.stager.job import Job, Most, run
from tesk.stager.parallel import Stop
from tesk.transfer import Progress, Told, TransferList, TransferReport, unheard

SMALL = Most(files=128, size_bytes=256 * 1024 * 1024)
"""Measured: starting the program takes about 0.12 s of a processor, as long as copying this much or delivering so many files."""
_STOP_SECONDS = 2.0
_HANGS_SECONDS = 30.0
_READ_BYTES = 1024 * 1024
_WORDS_BYTES = 64 * 1024
_NOTHING = TransferReport()
_decode = json.Decoder(Progress | TransferReport).decode


class HostStager:
    """`tesk.transfer.Stager`. `settings` must be in force (`tesk.storage.schemes.in_force`). Close it at the end."""

    def __init__(self, settings: StorageSettings, *, small: Most = SMALL) -> None:
        self._settings = settings
        self._small = small
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="stager")

    def close(self) -> None:
        """Let the threads go when their work is done."""
        self._threads.shutdown()

    async def fetch(
        self, transfers: TransferList, root: Path, owner: tuple[int, int] | None, told: Told = unheard
    ) -> TransferReport:
        if not transfers.comes_first:
            return _NOTHING
        return await self._move(
            Job(direction="inputs", transfers=transfers, root=str(root), owner=owner, settings=self._settings), told
        )

    async def deliver(self, transfers: TransferList, root: Path, told: Told = unheard) -> TransferReport:
        if not transfers.outputs:
            return _NOTHING
        return await self._move(
            Job(direction="outputs", transfers=transfers, root=str(root), owner=None, settings=self._settings), told
        )

    async def feed(
        self,
        transfers: TransferList,
        root: Path,
        owner: tuple[int, int] | None,
        *,
        over: Awaitable[object],
        broken: Callable[[TransferReport], None],
        told: Told = unheard,
    ) -> TransferReport:
        job = Job(direction="streams", transfers=transfers, root=str(root), owner=owner, settings=self._settings)

        def hear(line: Progress | TransferReport) -> None:
            if isinstance(line, Progress):
                told(line)
            elif line.error is not None:
                broken(line)

        report = await _run_apart(job, hear, over)
        hear(report)
        return report

    async def _move(self, job: Job, told: Told) -> TransferReport:
        stop = Stop()
        thread = self._threads.submit(run, job, stop, self._small)
        work = asyncio.wrap_future(thread)
        try:
            report = await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.ask()
            # The caller may delete the folder as soon as we return. A file system that hangs must not keep it for ever.
            if not thread.cancel():  # it is under way
                await asyncio.wait([work], timeout=_HANGS_SECONDS)
            raise
        if report is not None:
            return report
        return await _run_apart(job, lambda line: told(line) if isinstance(line, Progress) else None)


async def _run_apart(
    job: Job, hear: Callable[[Progress | TransferReport], None], over: Awaitable[object] | None = None
) -> TransferReport:
    """Run the job in a process of its own, which ends when this call is canceled, when it is `over`, and when this process dies."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # never a module from the folder that the server was started in: tasks may write there
        "-m",
        "tesk.stager",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the server, which then stops us in order
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    listening = asyncio.gather(_listen(process.stdout, hear), _last_words(process.stderr))
    waiting = None if over is None else asyncio.ensure_future(over)
    try:
        process.stdin.write(json.encode(structs.replace(job, held=True)) + b"\n")
        if waiting is not None:
            ends: list[asyncio.Future[Any]] = [waiting, listening]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            process.stdin.close()
            await asyncio.wait([listening], timeout=_HANGS_SECONDS)  # without its report nobody knows that all is well
        else:
            await asyncio.wait([listening])
    finally:
        process.stdin.close()
        if waiting is not None:
            waiting.cancel()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        report, complaints = await listening
    if report is not None:
        return report
    words = complaints.decode(errors="replace").strip().rpartition("\n")[2]
    return TransferReport(
        error=f"the stager ended with {process.returncode} and no report: {words or 'no word'}", retry=True
    )


async def _last_words(said: asyncio.StreamReader) -> bytes:
    """Hear a stager's complaints to their end, and return the last of them."""
    last = b""
    while piece := await said.read(_WORDS_BYTES):
        last = (last + piece)[-_WORDS_BYTES:]
    return last


async def _listen(
    said: asyncio.StreamReader, hear: Callable[[Progress | TransferReport], None]
) -> TransferReport | None:
    """Hear a stager to its end. Return its last report; None where it ended before it had one."""
    report = None
    pieces: list[bytes] = []  # of a line: that of the report may be very long
    while piece := await said.read(_READ_BYTES):
        *ends, rest = piece.split(b"\n")
        for end in ends:
            with contextlib.suppress(DecodeError):  # what a library thinks that it has to print
                line = _decode(b"".join((*pieces, end)))
                hear(line)
                if isinstance(line, TransferReport):
                    report = line
            pieces.clear()
        pieces.append(rest)
    return report
