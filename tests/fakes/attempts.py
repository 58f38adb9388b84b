"""Attempts without a controller: plans from a few words, a backend that is open, waiting for what it shows."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from tesk.compute.backend import AttemptId, Backend, Observation, Phase
from tesk.compute.local.backend import LocalBackend
from tesk.compute.plan import Plan, make_plan
from tesk.inside import Inside
from tesk.settings import LocalSettings
from tesk.tes.task import Executor, Extension, Task
from tesk.transfer import Moved, Progress, Told, TransferList, TransferReport, unheard

BOUND_SECONDS = 100
numbers = itertools.count(1)


def shell(script: str, **more) -> Executor:
    """One executor that runs a script."""
    return Executor(image="debian", command=("sh", "-c", script), **more)


def plan(*executors: Executor, ram_bytes=10**9, disk_bytes=0, cpu_cores=1.0, tail_bytes=65536, **task) -> Plan:
    """Plan a task, as the controller does."""
    return make_plan(
        Task(executors=executors, **task),
        task_id="task",
        owner="local",
        extension=Extension(),
        cpu_cores=cpu_cores,
        ram_bytes=ram_bytes,
        disk_bytes=disk_bytes,
        tail_bytes=tail_bytes,
    )


class ShelfStager:
    """A stager whose inputs are contents, and whose outputs land on a shelf: bytes by the task's path. `held` holds it up."""

    def __init__(self) -> None:
        self.shelf: dict[str, bytes] = {}
        self.held: asyncio.Event | None = None
        self.busy = asyncio.Event()

    async def fetch(
        self, transfers: TransferList, root: Path, owner: tuple[int, int] | None, told: Told = unheard
    ) -> TransferReport:
        told(Progress(direction="inputs", files=len(transfers.inputs)))
        await self._wait()
        with Inside(root) as inside:
            for entry in transfers.inputs:
                inside.make_folders(os.path.dirname(entry.path), owner=owner)
                with os.fdopen(inside.open(entry.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                    file.write((entry.content or "").encode())
                if owner is not None:
                    inside.chown(entry.path, owner)
        return TransferReport()

    async def deliver(self, transfers: TransferList, root: Path, told: Told = unheard) -> TransferReport:
        told(Progress(direction="outputs", files=len(transfers.outputs)))
        await self._wait()
        files, missing = [], []
        with Inside(root) as inside:
            for entry in transfers.outputs:
                try:
                    with os.fdopen(inside.open(entry.path), "rb") as file:
                        self.shelf[entry.path] = file.read()
                except OSError as error:
                    missing.append(f"{entry.path}: {error.strerror}")
                    continue
                size = len(self.shelf[entry.path])
                files.append(Moved(index=entry.index, url=entry.url, path=entry.path, size_bytes=size))
        return TransferReport(files=tuple(files), error="; ".join(missing) or None)

    async def _wait(self) -> None:
        self.busy.set()
        if self.held is not None:
            await self.held.wait()


class FaultyStager(ShelfStager):
    """Has a bug."""

    async def fetch(self, transfers, root, owner, told=None):
        raise ZeroDivisionError("a bug")


@contextlib.asynccontextmanager
async def local(folder: Path, stager: ShelfStager | None = None, **settings) -> AsyncIterator[LocalBackend]:
    """Give a backend `local` that is open. Network is off unless told, since that is quicker to try."""
    work = folder / "local"
    work.mkdir(parents=True, exist_ok=True)
    backend = LocalBackend(LocalSettings(**{"network": "off", **settings}), work, stager or ShelfStager())
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


def new_attempt() -> AttemptId:
    """An attempt that never was."""
    return AttemptId(f"task{next(numbers)}", 1)


async def until(
    backend: Backend, attempt: AttemptId, wanted: Callable[[Observation], bool] = lambda seen: seen.phase.ended
) -> Observation:
    """Look at an attempt whenever the backend says it is worth it, until it is as wanted."""
    changes = backend.changes()
    async with asyncio.timeout(BOUND_SECONDS):
        while not wanted(seen := await backend.observe(attempt)):
            await anext(changes)
    return seen


async def until_moving(backend: Backend, attempt: AttemptId) -> Progress:
    """Ask how far the data is until it is known: nobody is told of it."""
    async with asyncio.timeout(BOUND_SECONDS):
        while (moving := await backend.progress(attempt)) is None:  # noqa: ASYNC110  nobody tells of it
            await asyncio.sleep(0.1)
    return moving


async def finish(backend: Backend, what: Plan) -> Observation:
    """Run a plan to its end and forget it."""
    attempt = new_attempt()
    await backend.start(attempt, what)
    seen = await until(backend, attempt)
    await backend.forget(attempt)
    return seen


def run(folder: Path, *executors: Executor, settings=None, stager: ShelfStager | None = None, **task) -> Observation:
    """Run executors as one task on a backend of its own and return what was seen."""

    async def story() -> Observation:
        async with local(folder, stager, **(settings or {})) as backend:
            return await finish(backend, plan(*executors, **task))

    return asyncio.run(story())


async def wait_for_words(backend: Backend, attempt: AttemptId, words: bytes, executor: int = 0) -> None:
    """Wait until an executor has written something."""
    written = b""
    async with asyncio.timeout(BOUND_SECONDS):
        async for piece in backend.logs(attempt, executor, stream="combined", follow=True):
            written += piece.data
            if words in written:
                return
    raise AssertionError(f"it ended without saying {words!r}: {written!r}")


def codes(seen: Observation) -> Sequence[int]:
    """The exit codes of an attempt."""
    return [log.exit_code for log in seen.executor_logs]


def stdout(seen: Observation, executor: int = 0) -> str:
    """What an executor wrote, after a good end."""
    assert seen.phase is Phase.DONE, seen
    return seen.executor_logs[executor].stdout or ""
