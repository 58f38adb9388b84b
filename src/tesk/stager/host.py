"""The Stager of a backend on this host: small work in a thread, the rest in a program of its own that can be killed."""

import asyncio
import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import DecodeError, json, structs

from tesk.settings import StorageSettings
from tesk.stager.job import Job, Most, run
from tesk.stager.parallel import Stop
from tesk.transfer import TransferList, TransferReport

SMALL = Most(files=128, size_bytes=256 * 1024 * 1024)
"""Measured: starting the program takes about 0.12 s of a processor, as long as copying this much or delivering so many files."""
_STOP_SECONDS = 2.0
_HANGS_SECONDS = 30.0
_NOTHING = TransferReport()


class HostStager:
    """`tesk.transfer.Stager`. `settings` must be in force (`tesk.storage.schemes.in_force`). Close it at the end."""

    def __init__(self, settings: StorageSettings, *, small: Most = SMALL) -> None:
        self._settings = settings
        self._small = small
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="stager")

    def close(self) -> None:
        """Let the threads go when their work is done."""
        self._threads.shutdown()

    async def fetch(self, transfers: TransferList, root: Path, owner: tuple[int, int] | None) -> TransferReport:
        if not transfers.inputs:
            return _NOTHING
        return await self._move(
            Job(direction="inputs", transfers=transfers, root=str(root), owner=owner, settings=self._settings)
        )

    async def deliver(self, transfers: TransferList, root: Path) -> TransferReport:
        if not transfers.outputs:
            return _NOTHING
        return await self._move(
            Job(direction="outputs", transfers=transfers, root=str(root), owner=None, settings=self._settings)
        )

    async def _move(self, job: Job) -> TransferReport:
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
        return report if report is not None else await _run_apart(job)


async def _run_apart(job: Job) -> TransferReport:
    """Run the job in a process of its own, which ends when this call is canceled and when this process dies."""
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
    try:
        process.stdin.write(json.encode(structs.replace(job, held=True)) + b"\n")
        said, complaints = await asyncio.gather(process.stdout.read(), process.stderr.read())
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    try:
        return json.decode(said, type=TransferReport)
    except DecodeError:
        words = complaints.decode(errors="replace").strip().rpartition("\n")[2]
        return TransferReport(
            error=f"the stager ended with {process.returncode} and no report: {words or 'no word'}", retry=True
        )
