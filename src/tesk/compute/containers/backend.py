"""Attempts in containers on this machine, behind the Protocol of backends. What runs outlives the server, and is adopted."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tesk.compute.backend import SEPARATE, AttemptId, Capacity, Observation, Phase, Piece, Separate, Stream, named
from tesk.compute.combined import combined
from tesk.compute.containers import hooks
from tesk.compute.containers import journal as journals
from tesk.compute.containers.arguments import binds
from tesk.compute.containers.attempt import Attempt
from tesk.compute.containers.devices import Devices
from tesk.compute.containers.engine import Engine, find_engine
from tesk.compute.containers.folder import FOLDER, PLACE, Folders, discard, gone
from tesk.compute.containers.images import Images
from tesk.compute.containers.journal import Journal
from tesk.compute.containers.machine import Machine, Resolve
from tesk.compute.containers.reference import reference
from tesk.compute.containers.removal import Removal
from tesk.compute.machine.place import identity, place_of, same_home
from tesk.compute.machine.size import capacity
from tesk.compute.plan import Plan
from tesk.errors import BackendUnavailable, StartError
from tesk.settings import ContainersSettings
from tesk.transfer import Progress, Stager

_TOOL = "trs://"


async def as_it_is(image: str, caller: str) -> str:  # noqa: ARG001  names are everybody's
    """Resolve nothing."""
    return image


class ContainersBackend:
    """Runs attempts in containers, with their folders below `work`, staged by `stager`. Use it in one event loop.

    `resolve` gives the image that a `trs://` URI stands for to a caller. Raises TransferError.
    """

    name = "containers"
    place = ""
    shared = False
    says: tuple[str, ...] = ()
    """Once open: what holds on this machine, a sentence each."""

    def __init__(self, settings: ContainersSettings, work: Path, stager: Stager, resolve: Resolve = as_it_is) -> None:
        self._settings = settings
        self._resolve = resolve
        self._work = work.resolve()
        self._stager = stager
        self._folders = Folders(self._work)
        self._devices = Devices(settings.gpus)
        self._attempts: dict[AttemptId, Attempt] = {}
        self._tasks: dict[AttemptId, asyncio.Task[None]] = {}
        self._left: set[AttemptId] = set()
        self._changes: asyncio.Queue[AttemptId] = asyncio.Queue()

    async def open(self) -> None:
        engine = await find_engine(self._settings.engine)
        if engine.facts.kind == "podman" and (missing := hooks.missing()) is not None:
            raise StartError(missing)
        await asyncio.to_thread(self._folders.prepare)
        self.place = place_of(self._work)
        self.says = tuple(_says(engine, self._settings))
        where = identity(self._work)
        self._machine = Machine(
            settings=self._settings,
            engine=engine,
            resolve=self._resolve,
            images=Images(engine, self._settings.pull),
            removal=Removal(engine),
            stager=self._stager,
            label=f"{PLACE}={where}",
            prefix=f"tesk-{where}",
            folder=str(self._work),
            notes=self.says[1:],
        )
        await asyncio.to_thread(self._know_devices)
        for away in self._folders.trash():
            await self._discard(away)
        try:
            # What a dead server left without a folder. Of what we start ourselves there is always one.
            found = await engine.labeled(self._machine.label)
        except BackendUnavailable as error:
            raise StartError(str(error)) from error
        names = {labels.get("tesk.attempt", "") for labels in found.values()}
        self._left = {attempt for name in names if (attempt := named(name)) is not None}
        self._machine.removal.open()

    def _know_devices(self) -> None:
        for attempt in self._folders.existing():
            if (journal := journals.read(self._folders.path(attempt))) is not None and not journal.phase.ended:
                self._devices.keep(attempt, journal.devices)

    async def close(self) -> None:
        # Containers go on without us; what this process itself was at, a server after us does again.
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._machine.removal.close()

    def owns(self, place: str) -> bool:
        return same_home(place, self.place)

    def abandoned(self, place: str) -> bool:
        return same_home(place, self.place)

    async def start(self, attempt: AttemptId, plan: Plan) -> None:
        if attempt in self._attempts or self._folders.path(attempt).exists():
            return
        for step in plan.steps:
            if not step.image.lower().startswith(_TOOL):  # which is looked up when the attempt is under way
                reference(step.image, f"executors[{step.index}].image")
        folder = self._folders.path(attempt)
        binds(plan, str(folder / "root"))
        devices = self._devices.give(attempt, plan)
        journal = Journal(plan=plan, phase=Phase.STAGING, since=time.time(), notes=self._machine.notes, devices=devices)
        try:
            await asyncio.to_thread(self._create, attempt, journal)
        except OSError as error:  # a disk that is full has room again, some time
            self._devices.free(attempt)
            raise BackendUnavailable(f"The folder of attempt {attempt} cannot be made now: {error}") from error
        self._go_on(attempt, journal)

    def _create(self, attempt: AttemptId, journal: Journal) -> None:
        journals.write(self._folders.create(attempt), journal)

    def _go_on(self, attempt: AttemptId, journal: Journal) -> Attempt:
        def changed() -> None:
            if ours.over.is_set():
                self._devices.free(attempt)
            self._changes.put_nowait(attempt)

        ours = Attempt(attempt, self._folders.path(attempt), journal, self._machine, changed)
        self._attempts[attempt] = ours
        self._tasks[attempt] = asyncio.create_task(ours.run(), name=f"attempt {attempt}")
        return ours

    async def observe(self, attempt: AttemptId) -> Observation:
        if (ours := self._attempts.get(attempt)) is not None:
            return ours.observation()
        folder = self._folders.path(attempt)
        if not folder.exists():
            return Observation(attempt=attempt, phase=Phase.ABSENT, since=time.time())
        journal = journals.read(folder)
        if journal is not None:
            ours = self._go_on(attempt, journal)
            ours.left = True  # of a step before, perhaps: its server died before it was removed
            return ours.observation()
        # Its server died before the first word, so before anything ran; or it was another version, whose words are not ours.
        await self._remove_containers(attempt)
        await self._remove(attempt)
        return Observation(attempt=attempt, phase=Phase.ABSENT, since=time.time())

    async def progress(self, attempt: AttemptId) -> Progress | None:
        ours = self._attempts.get(attempt)
        return ours.progress if ours is not None else None

    def waiting(self, attempt: AttemptId) -> str | None:  # noqa: ARG002  one machine starts what it has room for
        return None

    async def stop(self, attempt: AttemptId, grace_seconds: float) -> None:
        if (ours := self._attempts.get(attempt)) is not None:
            ours.stop(grace_seconds)

    async def forget(self, attempt: AttemptId, place: str | None = None) -> None:  # noqa: ARG002  ours have one place
        ours = self._attempts.get(attempt)
        if ours is not None:
            ours.stop(0)
            await ours.over.wait()
        if ours is None or ours.left or ours.journal.began:
            await self._remove_containers(attempt)
        await self._remove(attempt)
        if ours is not None and self._attempts.pop(attempt, None) is not None:
            await self._tasks.pop(attempt)
        self._left.discard(attempt)
        self._devices.free(attempt)

    async def _remove_containers(self, attempt: AttemptId) -> None:
        found = await self._machine.engine.labeled(self._machine.label, f"tesk.attempt={attempt}")
        await self._machine.engine.remove([*found])

    async def _remove(self, attempt: AttemptId) -> None:
        if (away := self._folders.take_away(attempt)) is not None:
            await self._discard(away)

    async def _discard(self, away: Path) -> None:
        if not await asyncio.to_thread(discard, away):
            await self._machine.engine.reclaim(str(away))
            await asyncio.to_thread(discard, away)

    async def orphans(self) -> dict[str, list[str]]:
        """Return the containers that no server will take over, since its folder is gone from here, by that folder.

        Only a person can say whether it is gone for good.
        """
        found: dict[str, list[str]] = {}
        for name, labels in (await self._machine.engine.labeled(PLACE)).items():
            if gone(labels):
                found.setdefault(labels[FOLDER], []).append(name)
        return found

    async def existing(self) -> AsyncIterator[AttemptId]:
        for attempt in {*await asyncio.to_thread(lambda: [*self._folders.existing()]), *self._left, *self._attempts}:
            yield attempt

    async def changes(self) -> AsyncIterator[AttemptId]:
        while True:
            yield await self._changes.get()

    def tells_all(self) -> bool:
        return False

    def room(self) -> int | None:
        return None

    async def capacity(self) -> Capacity | None:
        return capacity(self._settings, self._work, len(self._settings.gpus))

    async def logs(self, attempt: AttemptId, executor: int, *, stream: Stream, follow: bool) -> AsyncIterator[Piece]:
        if (ours := self._attempts.get(attempt)) is not None:
            names: tuple[Separate, ...] = SEPARATE if stream == "combined" else (stream,)
            async for piece in combined(*(ours.tail(executor, name, follow=follow) for name in names)):
                yield piece


def _says(engine: Engine, settings: ContainersSettings) -> list[str]:
    """What holds here: the engine, then all that a task's owner should know."""
    facts = engine.facts
    as_whom = "as this user" if facts.rootless else "as root"
    says = [f"{facts.kind} {facts.version} runs the containers, {as_whom}."]
    if settings.network == "host":
        says.append(
            "Executors share this machine's network: they can reach this server and all that listens on loopback."
        )
    if missing := sorted({"memory", "cpu", "pids"} - facts.controllers):
        says.append(f"{facts.kind} cannot limit {' and '.join(missing)} here: control groups are not given to it.")
    return says
