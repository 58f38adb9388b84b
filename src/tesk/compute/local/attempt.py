"""One attempt at a task on this machine: inputs in, executors one after another, outputs out."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine

from msgspec.structs import replace

from tesk.compute.backend import AttemptId, Observation, Phase, Piece, Separate
from tesk.compute.local.bare import BareRun
from tesk.compute.local.cgroup import Cgroup
from tesk.compute.local.folder import Folder, Lost
from tesk.compute.local.launch import Launcher, Machine
from tesk.compute.local.run import Ended, Run
from tesk.compute.machine.disk import used_bytes
from tesk.compute.machine.feeding import while_fed
from tesk.compute.machine.refused import refused
from tesk.compute.machine.size import gigabytes
from tesk.compute.pipes import pipes_of
from tesk.compute.plan import Plan, Step
from tesk.errors import CannotRun
from tesk.tes.logs import ExecutorLog, OutputFileLog
from tesk.tes.task import FileType
from tesk.tes.times import rfc3339
from tesk.transfer import Direction, Progress, TransferReport, summary

_FOLLOW_SECONDS = 0.2


class Attempt:
    """What the backend knows of one attempt that it started itself. `changed` is called when it is worth a look."""

    def __init__(self, attempt: AttemptId, plan: Plan, machine: Machine, changed: Callable[[], None]) -> None:
        self.id = attempt
        self._plan = plan
        self._machine = machine
        self._changed = changed
        self._phase = Phase.STAGING if plan.transfer.comes_first else Phase.RUNNING
        self._since = time.time()
        self._reason: str | None = None
        self._final = self._ours = False
        self._notes = [*machine.notes, _images(plan)]
        self._logs: list[ExecutorLog] = []
        self._ends: list[Ended] = []
        self._outputs: tuple[OutputFileLog, ...] = ()
        self._metadata = {f"executors.{step.index}.image": step.image for step in plan.steps}
        self._input_types: dict[int, FileType] = {}
        self._output_types: dict[int, FileType] = {}
        self._failure: str | None = None
        self._stopped = self._broken = False
        self._kills: list[asyncio.TimerHandle] = []
        self._run: Run | None = None
        self._running = -1
        self._moving: asyncio.Task[TransferReport] | None = None
        self._folder: Folder | None = None
        self._cgroup: Cgroup | None = None
        self._launcher: Launcher | None = None
        self.progress: Progress | None = None
        self.over = asyncio.Event()

    def observation(self) -> Observation:
        """Return the whole truth, now."""
        return Observation(
            attempt=self.id,
            phase=self._phase,
            since=self._since,
            reason=self._reason,
            notes=tuple(self._notes),
            final=self._final,
            ours=self._ours,
            executor_logs=tuple(self._logs),
            output_logs=self._outputs,
            metadata=dict(self._metadata),
            input_types=self._input_types,
            output_types=self._output_types,
        )

    async def run(self) -> None:
        """Do it all. What goes wrong is seen in the observation."""
        watching = asyncio.create_task(self._watch_disk()) if self._plan.disk_bytes else None
        try:
            await self._do()
        except Lost:
            self._end(Phase.PREEMPTED, "Another server of this machine took the task over.", ours=True)
        except CannotRun as error:
            self._end(Phase.SYSTEM_FAILED, str(error), final=True)
        except OSError as error:
            self._end(Phase.SYSTEM_FAILED, f"This machine could not run the task: {error}.")
        finally:
            if not self._phase.ended:
                # Whoever forgets the attempt is told of the fault itself; a task must not rest in its state because of it.
                self._end(Phase.SYSTEM_FAILED, "A fault of the server's own came in between; its log says more.")
            for kill in self._kills:
                kill.cancel()
            self.over.set()
            self._changed()
            if watching is not None:
                await watching

    def stop(self, grace_seconds: float, *, failure: str | None = None) -> None:
        """Ask it to end: TERM, the grace, KILL. With `failure` it ends as SYSTEM_FAILED for that reason."""
        if self.over.is_set():
            return
        self._stopped = True
        self._failure = self._failure or failure
        if self._moving is not None:
            self._moving.cancel()
        if (run := self._run) is not None:
            keeper = self._machine.keeper
            if grace_seconds > 0:
                keeper.post(run.terminate)
                self._kills.append(asyncio.get_running_loop().call_later(grace_seconds, keeper.post, run.kill))
            else:
                keeper.post(run.kill)

    async def tail(self, executor: int, stream: Separate, *, follow: bool) -> AsyncIterator[Piece]:
        """Yield what an executor has written so far, as far as it is kept; with `follow` what it writes until its end."""
        sent = 0
        while executor >= len(self._ends) and not self.over.is_set():
            if executor == self._running and (run := self._run) is not None:
                # The run's streams are the keeper's.
                written = await self._machine.keeper.call((run.stdout if stream == "stdout" else run.stderr).written)
                if written.size_bytes > sent:
                    new, sent = written.tail[sent - written.size_bytes :], written.size_bytes
                    yield Piece(stream, sent - len(new), new)
            if not follow:
                return
            await self._over_within(_FOLLOW_SECONDS)
        if executor < len(self._ends):
            ended = self._ends[executor]
            written = ended.stdout if stream == "stdout" else ended.stderr
            if written.size_bytes > sent:
                new, sent = written.tail[sent - written.size_bytes :], written.size_bytes
                yield Piece(stream, sent - len(new), new)
        yield Piece(stream, sent, b"")

    @property
    def alone(self) -> bool:
        """Say whether its one executor was given nothing in its own folder but `/tmp` and a home."""
        settings, network = self._machine.settings, self._machine.network
        return len(self._plan.steps) == 1 and settings.sandbox != "none" and network != "nat"

    def release(self) -> None:
        """Give back what it holds beside its folder, once it is over."""
        # Taken first: two may come at once, where the first was told to stop while it was at it.
        cgroup, folder = self._cgroup, self._folder
        self._cgroup = self._folder = None
        if cgroup is not None:
            cgroup.remove()
        if folder is not None:
            folder.close()

    def _make(self) -> None:
        """In the hand's thread."""
        machine, plan = self._machine, self._plan
        owner = machine.user.owner if machine.user else None
        self._folder = machine.folders.create(self.id, machine.owner, owner)
        if machine.settings.sandbox == "none":
            self._folder.will_make(entry.path for entry in plan.shared)
        self._cgroup = machine.cgroups.make(str(self.id), ram_bytes=plan.ram_bytes, cpu_cores=plan.cpu_cores)
        self._launcher = Launcher(machine, plan, self._folder, self._cgroup)

    async def _do(self) -> None:
        machine, plan = self._machine, self._plan
        owner = machine.user.owner if machine.user else None
        served: tuple[int, ...] = ()
        if plan.transfer.comes_first:
            await machine.hand.call(self._make)
            assert self._launcher is not None
            # Without a sandbox the pipe would lie among the user's own files.
            pipes = pipes_of(plan) if machine.settings.sandbox != "none" else ()
            transfers = replace(plan.transfer, pipes=pipes)
            fetching = machine.stager.fetch(transfers, self._launcher.root, owner, self._hear)
            report = await self._move("inputs", fetching)
            self._input_types = report.types
            if self._ended_by(report):
                return
            served = report.pipes
            self._enter(Phase.RUNNING)
        failed = await (self._run_fed(served, owner) if served else self._run_steps())
        if failed is None:
            return
        if plan.transfer.outputs:
            assert self._launcher is not None
            self._enter(Phase.UPLOADING)
            report = await self._move("outputs", machine.stager.deliver(plan.transfer, self._launcher.root, self._hear))
            self._output_types = report.types
            self._outputs = tuple(
                OutputFileLog(url=file.url, path=file.path, size_bytes=str(file.size_bytes)) for file in report.files
            )
            if failed and report.error is not None:
                self._notes.append(report.error)
            elif self._ended_by(report):
                return
        self._end(Phase.EXECUTOR_FAILED if failed else Phase.DONE)

    async def _run_steps(self) -> bool | None:
        """Run the executors; say whether one failed, None where the attempt has ended."""
        for step in self._plan.steps:
            ended = await self._execute(step)
            if self._stopped_here():
                return None
            assert self._folder is not None
            self._folder.check()
            if ended.error is not None:
                self._end(Phase.SYSTEM_FAILED, ended.error, final=not ended.again)
                return None
            if self._broken or (ended.exit_code != 0 and not step.ignore_error):
                return True
        return False

    async def _run_fed(self, pipes: tuple[int, ...], owner: tuple[int, int] | None) -> bool | None:
        """Run the executors while the inputs that are named pipes are served to them."""
        assert self._launcher is not None
        failed, report = await while_fed(
            self._machine.stager,
            replace(self._plan.transfer, pipes=pipes),
            self._launcher.root,
            owner,
            self._run_steps(),
            broken=self._break,
            told=self._hear,
        )
        self.progress = None
        if failed is None or self._ended_by(report):
            return None
        if (read := summary("inputs", report, read=True)) is not None:
            self._notes.append(read)
        return failed

    def _break(self) -> None:
        """End the executor: of an input that cannot go on it must not take the part for the whole."""
        self._broken = True
        if (run := self._run) is not None:
            self._machine.keeper.post(run.kill)

    def _hear(self, progress: Progress) -> None:
        self.progress = progress

    async def _move(self, direction: Direction, transfer: Coroutine[None, None, TransferReport]) -> TransferReport:
        """Move data; a stop cancels it."""
        self._moving = moving = asyncio.create_task(transfer)
        if self._stopped:
            moving.cancel()
        try:
            report = await moving
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            return TransferReport()
        finally:
            self._moving = self.progress = None
        self._notes += report.warnings
        if (moved := summary(direction, report)) is not None:
            self._notes.append(moved)
        return report

    def _ended_by(self, report: TransferReport) -> bool:
        if self._stopped_here():
            return True
        if report.error is not None:
            self._end(Phase.SYSTEM_FAILED, report.error, final=not report.retry)
        return report.error is not None

    def _stopped_here(self) -> bool:
        if self._failure is not None:
            self._end(Phase.SYSTEM_FAILED, self._failure, final=True)
        elif self._stopped:
            self._end(Phase.PREEMPTED, "The attempt was stopped.", ours=True)
        return self._stopped

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._since = time.time()
        self._changed()

    def _end(self, phase: Phase, reason: str | None = None, *, final: bool = False, ours: bool = False) -> None:
        self._phase, self._reason, self._final, self._ours = phase, reason, final, ours
        self._since = time.time()

    async def _watch_disk(self) -> None:
        limit = self._plan.disk_bytes
        wait = every = self._machine.settings.disk_check_seconds
        while not await self._over_within(wait):
            if (folder := self._folder) is not None:
                # Without a sandbox the task's paths lie elsewhere.
                made = (entry.path for entry in self._plan.shared if self._machine.settings.sandbox == "none")
                folders = (folder.own, folder.root, *made)
                began = time.monotonic()
                used = await asyncio.to_thread(used_bytes, folders)
                # Looking at very many files takes its time; it takes no more than a twentieth of it.
                wait = max(every, 20 * (time.monotonic() - began))
                if used > limit:
                    self.stop(0, failure=f"disk full (limit {gigabytes(limit)})")

    async def _over_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)
        return self.over.is_set()

    async def _execute(self, step: Step) -> Ended:
        if self._stopped or self._broken:
            return Ended()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Ended] = loop.create_future()

        def make() -> None:
            # From thread to thread: what this loop is busy with is not waited for.
            try:
                self._make()
            except (OSError, Lost) as error:
                loop.call_soon_threadsafe(future.set_exception, error)
            else:
                self._machine.keeper.post(begin)

        def begin() -> None:
            assert self._launcher is not None
            try:
                launch = self._launcher.launch(step)
            except (OSError, Lost, CannotRun) as error:
                loop.call_soon_threadsafe(future.set_exception, error)
                return
            kind = BareRun if self._machine.settings.sandbox == "none" else Run
            self._run = kind(
                self._machine.keeper, launch, lambda ended: loop.call_soon_threadsafe(future.set_result, ended)
            )
            if self._stopped or self._broken:
                self._run.kill()
            self._run.begin()

        self._running = step.index
        if self._launcher is None:
            self._machine.hand.post(make)
        else:
            self._machine.keeper.post(begin)
        ended = await future
        self._run = None
        if ended.ran:
            self._log(step, ended)
        return ended

    def _log(self, step: Step, ended: Ended) -> None:
        self._ends.append(ended)
        self._logs.append(
            ExecutorLog(
                start_time=rfc3339(ended.start_time),
                end_time=rfc3339(ended.end_time),
                stdout=ended.stdout.text(),
                stderr=ended.stderr.text(),
                exit_code=ended.exit_code,
            )
        )
        if ended.refused:
            where = f"among the programs of this machine; its image {step.image} is not used"
            self._notes.append(refused(step.index, step.command[0], ended.exit_code, where))
        for name, written in (("stdout", ended.stdout), ("stderr", ended.stderr)):
            if written.cut:
                self._metadata[f"executors.{step.index}.{name}_size_bytes"] = str(written.size_bytes)
                self._notes.append(
                    f"executors[{step.index}]: of the {written.size_bytes} bytes of {name} only the end is in its log."
                )
        if self._cgroup is not None and ended.exit_code == 137 and self._cgroup.ran_out():
            self._notes.append(f"executors[{step.index}]: out of memory (limit {gigabytes(self._plan.ram_bytes)}).")


def _images(plan: Plan) -> str:
    images = ", ".join(dict.fromkeys(step.image for step in plan.steps))
    return f"Images are not used here ({images}): the host's programs run."
