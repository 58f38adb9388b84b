"""One attempt at a task: images and inputs in, one container after another, outputs out. Goes on where a journal ends."""

import asyncio
import contextlib
import errno
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from tesk.compute.backend import AttemptId, Observation, Phase, Piece, Separate
from tesk.compute.containers import journal as journals
from tesk.compute.containers.arrival import arrive
from tesk.compute.containers.container import Ended, Execution
from tesk.compute.containers.engine import Image
from tesk.compute.containers.folder import FOLDER, foreign
from tesk.compute.containers.images import Missing, never_starts
from tesk.compute.containers.journal import Journal
from tesk.compute.containers.machine import Machine
from tesk.compute.containers.prepare import Preparation, Prepared, Streams
from tesk.compute.machine.disk import used_bytes
from tesk.compute.machine.feeding import while_fed
from tesk.compute.machine.size import gigabytes
from tesk.compute.pipes import pipes_of
from tesk.compute.plan import Step
from tesk.errors import BackendUnavailable, CannotRun, TransferError, TransferRefused
from tesk.tes.logs import OutputFileLog
from tesk.transfer import Direction, Progress, TransferList, TransferReport, summary

T = TypeVar("T")
_FOLLOW_SECONDS = 0.2


class Attempt:
    """What the backend knows of one attempt. `changed` is called when it is worth a look."""

    def __init__(
        self, attempt: AttemptId, folder: Path, journal: Journal, machine: Machine, changed: Callable[[], None]
    ) -> None:
        self.id = attempt
        self.journal = journal
        self._folder = folder
        self._machine = machine
        self._changed = changed
        self._preparation = Preparation(machine.engine, machine.settings, journal.plan, folder)
        self.progress: Progress | None = None
        self._failure: str | None = None
        self._stopped = self._broken = False
        self._why_stopped = "The attempt was stopped."
        self._grace_seconds = 0.0
        self._execution: Execution | None = None
        self._streams: Streams | None = None
        self._work: asyncio.Task[Any] | None = None
        self.over = asyncio.Event()
        self.left = False
        """A container of a server before us may be left, which is removed when the attempt is forgotten."""

    def observation(self) -> Observation:
        """Return the whole truth, now."""
        now = self.journal
        return Observation(
            attempt=self.id,
            phase=now.phase,
            since=now.since,
            reason=now.reason,
            notes=now.notes,
            final=now.final,
            ours=now.ours,
            executor_logs=now.logs,
            output_logs=now.outputs,
            metadata=now.metadata,
            input_types=now.input_types,
            output_types=now.output_types,
        )

    async def run(self) -> None:
        """Do all that is left to do. What goes wrong is seen in the observation. Canceled, it leaves what runs alone."""
        if self.journal.phase.ended:
            self.over.set()
            return
        watching = asyncio.create_task(self._watch_disk())
        try:
            await self._do()
        except asyncio.CancelledError:
            self.over.set()
            raise
        except CannotRun as error:
            self._end(Phase.SYSTEM_FAILED, str(error), final=True)
        except Missing as error:
            self._end(Phase.SYSTEM_FAILED, f"{error}.", final=error.final)
        except BackendUnavailable as error:
            self._end(Phase.SYSTEM_FAILED, str(error))
        except TransferError as error:
            self._end(Phase.SYSTEM_FAILED, str(error), final=isinstance(error, TransferRefused))
        except OSError as error:
            self._end(
                Phase.SYSTEM_FAILED, f"This machine could not run the task: {error}.", final=error.errno == errno.E2BIG
            )
        finally:
            watching.cancel()
            if self._streams is not None:
                self._streams.close()
            if not self.over.is_set() and not self.journal.phase.ended:
                # Whoever forgets the attempt is told of the fault itself; a task must not rest in its state because of it.
                self._end(Phase.SYSTEM_FAILED, "A fault of the server's own came in between; its log says more.")
            self.over.set()
            self._changed()

    def stop(self, grace_seconds: float, *, failure: str | None = None) -> None:
        """Ask it to end: TERM, the grace, KILL. With `failure` it ends as SYSTEM_FAILED for that reason."""
        if self.over.is_set():
            return
        self._stopped = True
        self._grace_seconds = grace_seconds
        self._failure = self._failure or failure
        if self._work is not None:
            self._work.cancel()
        if self._execution is not None:
            self._execution.stop(grace_seconds)

    async def tail(self, executor: int, stream: Separate, *, follow: bool) -> AsyncIterator[Piece]:
        """Yield what an executor has written so far, as far as it is kept; with `follow` what it writes until its end."""
        sent = 0
        while executor >= len(self.journal.logs) and not self.over.is_set():
            if executor == self.journal.step and (streams := self._streams) is not None:
                written = streams.written(stream)
                if written.size_bytes > sent:
                    new, sent = written.tail[sent - written.size_bytes :], written.size_bytes
                    yield Piece(stream, sent - len(new), new)
            if not follow:
                return
            await self._over_within(_FOLLOW_SECONDS)
        if executor < len(self.journal.logs):
            log = self.journal.logs[executor]
            text = ((log.stdout if stream == "stdout" else log.stderr) or "").encode()
            size = int(self.journal.metadata.get(f"executors.{executor}.{stream}_size_bytes", len(text)))
            if size > sent:
                new, sent = text[sent - size :], size
                yield Piece(stream, sent - len(new), new)
        yield Piece(stream, sent, b"")

    async def _do(self) -> None:
        if self.journal.pipes:
            # Who reads one saw an end when the server died, or waits for ever.
            self._why_stopped = "The server went away while it served inputs as named pipes, which none can go on with."
            self.stop(0)
        if self.journal.step < 0 and not await self._bring_in():
            return
        fed = self.journal.pipes and not self._stopped
        if not await (self._run_fed() if fed else self._run_steps()):
            return
        if self.journal.plan.transfer.outputs and not await self._take_out():
            return
        self._end(Phase.EXECUTOR_FAILED if self.journal.failed else Phase.DONE)

    # -- in and out ---------------------------------------------------------------------------------------------------
    async def _bring_in(self) -> bool:
        """Fetch all that comes before the first executor; say whether it may run."""
        plan = self.journal.plan
        await asyncio.to_thread(self._preparation.empty_root)
        transfers, root = self._transfers(pipes_of(plan)), self._preparation.root
        arriving = arrive(self._machine, plan, transfers, root, self._hear)
        report, found = await self._until_stopped(arriving) or (TransferReport(), {})
        if self._ended_by(report):
            return False
        await asyncio.to_thread(self._preparation.make_folders)
        facts = {f"executors.{step.index}.image": step.image for step in plan.steps}
        for step in plan.steps:
            name, image = found[step.image]
            facts[f"executors.{step.index}.image_digest"] = image.digest
            if name != step.image:
                facts[f"executors.{step.index}.image_resolved"] = name
        self._save(
            step=0,
            phase=Phase.RUNNING,
            since=time.time(),
            images={named: image for named, (_, image) in found.items()},
            metadata=facts,
            input_types=report.types,
            pipes=report.pipes,
            notes=self._notes("inputs", report),
        )
        self._changed()
        return True

    def _transfers(self, pipes: tuple[int, ...]) -> TransferList:
        """What the stager is told of the inputs. An image says who its executors are, and it may be anybody."""
        return replace(self.journal.plan.transfer, pipes=pipes, anybody=True)

    async def _take_out(self) -> bool:
        """Store the outputs; say whether the attempt's end is that of its executors."""
        if self.journal.phase is not Phase.UPLOADING:
            self._save(phase=Phase.UPLOADING, since=time.time())
            self._changed()
        root = self._preparation.root
        if self._machine.engine.facts.rootless and await asyncio.to_thread(foreign, root):
            await self._machine.engine.reclaim(str(root))
        report = await self._until_stopped(self._machine.stager.deliver(self.journal.plan.transfer, root, self._hear))
        report = report or TransferReport()
        self._save(
            output_types=report.types,
            outputs=tuple(
                OutputFileLog(url=file.url, path=file.path, size_bytes=str(file.size_bytes)) for file in report.files
            ),
            notes=self._notes("outputs", report),
        )
        if self.journal.failed and report.error is not None and not self._stopped:
            self._save(notes=(*self.journal.notes, report.error))
            return True
        return not self._ended_by(report)

    async def _until_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do something that a stop cancels; None where it did."""
        task: asyncio.Task[T] = asyncio.create_task(work)
        self._work = task
        if self._stopped:
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            if not self._stopped:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                raise
            return None
        finally:
            self._work = self.progress = None

    def _hear(self, progress: Progress) -> None:
        self.progress = progress

    def _notes(self, direction: Direction, report: TransferReport) -> tuple[str, ...]:
        moved = summary(direction, report)
        return (*self.journal.notes, *((moved,) if moved is not None else ()), *report.warnings)

    def _ended_by(self, report: TransferReport) -> bool:
        if self._stopped_here():
            return True
        if report.error is not None:
            self._end(Phase.SYSTEM_FAILED, report.error, final=not report.retry)
        return report.error is not None

    # -- executors ----------------------------------------------------------------------------------------------------
    async def _run_steps(self) -> bool:
        """Run the executors that are left to run; say whether outputs follow. A stop, and what is wrong, end the attempt."""
        while (step := self._next()) is not None:
            ended, streams = await self._execute(step)
            # An image that went away meanwhile is fetched again, another time.
            if ended.error is not None and not self._stopped and not self._broken:
                self._end(
                    Phase.SYSTEM_FAILED, f"executors[{step.index}]: {ended.error}.", final=never_starts(ended.error)
                )
                return False
            self._note_end(step, ended, streams)
            if self._stopped or self._broken:
                break
        return not self._stopped_here()

    async def _run_fed(self) -> bool:
        """Run the executors while the inputs that are named pipes are served to them."""
        transfers, root = self._transfers(self.journal.pipes), self._preparation.root
        goes_on, report = await while_fed(
            self._machine.stager, transfers, root, None, self._run_steps(), broken=self._break, told=self._hear
        )
        self.progress = None
        if not goes_on or self._ended_by(report):
            return False
        read = summary("inputs", report, read=True)
        self._save(pipes=(), notes=(*self.journal.notes, *filter(None, [read])))
        return True

    def _break(self) -> None:
        """End the executor: of an input that cannot go on it must not take the part for the whole."""
        self._broken = True
        if self._execution is not None:
            self._execution.stop(0)

    def _next(self) -> Step | None:
        done = self.journal.failed or self.journal.step >= len(self.journal.plan.steps)
        return None if done else self.journal.plan.steps[self.journal.step]

    async def _execute(self, step: Step) -> tuple[Ended, Streams]:
        machine = self._machine
        name = f"{machine.prefix}-{self.id}-{step.index}"
        image = self.journal.images[step.image]
        if self.journal.began:
            self._streams = streams = await asyncio.to_thread(self._preparation.reopen, step)
            self._execution = execution = Execution(machine.engine, name, self._preparation.own(step))
            if self._stopped:
                execution.stop(self._grace_seconds)
            if (ended := await execution.adopt()) is not None:
                return ended, streams
            streams.close()
        shown = await self._preparation.left_out(machine.images, image, step, f"{name}-look", machine.label)
        prepared = await asyncio.to_thread(self._preparation.prepare, step, shown)
        self._streams = streams = prepared.streams
        if self._stopped or self._broken:
            streams.close()
            return Ended(), streams
        if not self.journal.began:
            self._save(began=True)
        self._execution = execution = Execution(machine.engine, name, self._preparation.own(step))
        return await execution.start(
            self._arguments(step, name, image, prepared), streams.given(), streams.complaints
        ), streams

    def _arguments(self, step: Step, name: str, image: Image, prepared: Prepared) -> list[str]:
        labels = dict([self._machine.label.split("=", 1)]) | {
            FOLDER: self._machine.folder,
            "tesk.task": self.id.task_id,
            "tesk.attempt": str(self.id),
        }
        return self._preparation.arguments(
            step, prepared, name=name, image=image.id, labels=labels, devices=self.journal.devices
        )

    def _note_end(self, step: Step, ended: Ended, streams: Streams) -> None:
        """Write down how an executor ended, before anything of its container goes."""
        self._execution = None
        name = f"{self._machine.prefix}-{self.id}-{step.index}"
        if not ended.start_time:  # it was stopped before it began
            self._save(step=step.index + 1, began=False)
            self._machine.removal.later(name)
            return
        self._keep(journals.with_end(self.journal, step, ended, *streams.end()))
        self._machine.removal.later(name)

    async def _watch_disk(self) -> None:
        """Look at what is written: no more than was asked for, and of streams that nobody named only the end."""
        limit = self.journal.plan.disk_bytes
        wait = every = self._machine.settings.disk_check_seconds
        layers: dict[str, str | None] = {}
        while not await self._over_within(wait):
            if (streams := self._streams) is not None:
                streams.trim()
            if not limit:
                continue
            began = time.monotonic()
            folders = [str(self._preparation.root), str(self._folder / "own")]
            if (execution := self._execution) is not None:
                with contextlib.suppress(BackendUnavailable):
                    folders += filter(None, [await self._layer(execution.name, layers)])
            used = await asyncio.to_thread(used_bytes, folders)
            # Looking at very many files takes its time; it takes no more than a twentieth of it.
            wait = max(every, 20 * (time.monotonic() - began))
            if used > limit:
                self.stop(0, failure=f"disk full (limit {gigabytes(limit)})")

    async def _layer(self, name: str, known: dict[str, str | None]) -> str | None:
        """Where an engine keeps what a container writes in its own root, where this server can look."""
        if name not in known and (status := await self._machine.engine.status(name)) is not None:
            known[name] = status.layer
        return known.get(name)

    # -- states -------------------------------------------------------------------------------------------------------
    def _stopped_here(self) -> bool:
        if self._failure is not None:
            self._end(Phase.SYSTEM_FAILED, self._failure, final=True)
        elif self._stopped:
            self._end(Phase.PREEMPTED, self._why_stopped, ours=True)
        return self._stopped

    def _end(self, phase: Phase, reason: str | None = None, *, final: bool = False, ours: bool = False) -> None:
        self._save(phase=phase, reason=reason, final=final, ours=ours, since=time.time())

    def _save(self, **changes: Any) -> None:  # noqa: ANN401  the journal's own types
        self._keep(replace(self.journal, **changes))

    def _keep(self, journal: Journal) -> None:
        self.journal = journal
        with contextlib.suppress(FileNotFoundError):  # it was forgotten meanwhile
            journals.write(self._folder, self.journal)

    async def _over_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)
        return self.over.is_set()
