"""Attempts on this machine, behind the Protocol of backends."""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tesk.compute.backend import AttemptId, Capacity, Observation, Phase, Stream
from tesk.compute.local import host
from tesk.compute.local.attempt import Attempt
from tesk.compute.local.cgroup import find_cgroups
from tesk.compute.local.folder import Folders, Owner
from tesk.compute.local.keeper import Keeper
from tesk.compute.local.launch import Machine
from tesk.compute.local.processes import look_at
from tesk.compute.local.sandbox import host_arguments
from tesk.compute.local.takeover import take_over
from tesk.compute.local.user import executor_user, settle_thread
from tesk.compute.plan import Plan
from tesk.errors import StartError
from tesk.settings import LocalSettings
from tesk.transfer import Stager


class LocalBackend:
    """Runs attempts in folders below `work`, staged by `stager`. Use it between `open` and `close`, in one event loop."""

    name = "local"
    place = ""

    def __init__(self, settings: LocalSettings, work: Path, stager: Stager) -> None:
        self._settings = settings
        self._work = work
        self._stager = stager
        self._folders = Folders(work)
        self._attempts: dict[AttemptId, Attempt] = {}
        self._tasks: dict[AttemptId, asyncio.Task[None]] = {}
        self._left: dict[AttemptId, Observation] = {}
        self._changes: asyncio.Queue[AttemptId] = asyncio.Queue()

    async def open(self) -> None:
        _keep_descriptors()
        user = executor_user(self._settings.user)
        await asyncio.to_thread(self._folders.prepare)
        self.place = host.place(self._work)
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            raise StartError("bubblewrap is not installed; try: apt install bubblewrap")
        self._user = user
        self._keeper = Keeper(lambda: settle_thread(user, self._work))
        await self._keeper.open()
        server = look_at(os.getpid())
        assert server is not None
        self._machine = Machine(
            settings=self._settings,
            keeper=self._keeper,
            folders=self._folders,
            cgroups=find_cgroups(self._settings, self.place),
            stager=self._stager,
            user=user,
            owner=Owner(server=server, namespace=os.stat("/proc/self/ns/pid").st_ino),
            bwrap=bwrap,
            host=host_arguments(host.seen(self._settings.visible)),
            network_off=True,
            notes=(),
        )

    async def close(self) -> None:
        for attempt in self._attempts.values():
            attempt.stop(0)
        await asyncio.gather(*self._tasks.values())
        for attempt in self._attempts.values():
            attempt.release()
        self._machine.cgroups.close()
        await self._keeper.close()

    def owns(self, place: str) -> bool:
        return host.same_home(place, self.place)

    async def start(self, attempt: AttemptId, plan: Plan) -> None:
        # A folder of a dead server's: `observe` empties it.
        if attempt in self._attempts or attempt in self._left or self._folders.path(attempt).exists():
            return
        self._attempts[attempt] = ours = Attempt(
            attempt, plan, self._machine, lambda: self._changes.put_nowait(attempt)
        )
        self._tasks[attempt] = asyncio.create_task(ours.run(), name=f"attempt {attempt}")

    async def observe(self, attempt: AttemptId) -> Observation:
        if (ours := self._attempts.get(attempt)) is not None:
            return ours.observation()
        if attempt not in self._left:
            there = await asyncio.to_thread(take_over, self._folders, attempt, self._machine.owner)
            self._machine.cgroups.remove_left(str(attempt))
            self._left[attempt] = Observation(
                attempt=attempt,
                phase=Phase.PREEMPTED if there else Phase.ABSENT,
                since=time.time(),
                reason="The server that ran the task on this machine went away; what it left was ended."
                if there
                else None,
                ours=True,
            )
        return self._left[attempt]

    async def stop(self, attempt: AttemptId, grace_seconds: float) -> None:
        if (ours := self._attempts.get(attempt)) is not None:
            ours.stop(grace_seconds)

    async def forget(self, attempt: AttemptId) -> None:
        if (ours := self._attempts.get(attempt)) is not None:
            ours.stop(0)
            await ours.over.wait()
            ours.release()
            await asyncio.to_thread(self._folders.remove, attempt)
        else:
            await self.observe(attempt)
            self._left.pop(attempt, None)
        if ours is not None and self._attempts.pop(attempt, None) is not None:
            await self._tasks.pop(attempt)

    async def existing(self) -> AsyncIterator[AttemptId]:
        for attempt in await asyncio.to_thread(lambda: [*self._folders.existing()]):
            yield attempt

    async def changes(self) -> AsyncIterator[AttemptId]:
        while True:
            yield await self._changes.get()

    async def capacity(self) -> Capacity | None:
        return host.capacity(self._settings, self._work)

    async def logs(self, attempt: AttemptId, executor: int, *, stream: Stream, follow: bool) -> AsyncIterator[bytes]:
        if (ours := self._attempts.get(attempt)) is not None:
            async for piece in ours.tail(executor, stream, follow=follow):
                yield piece


def _keep_descriptors() -> None:
    """Whatever our own parent left open stays with us, and 0 to 2 are taken: no program that we start sees another file."""
    while (fd := os.open("/dev/null", os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(name), False)
