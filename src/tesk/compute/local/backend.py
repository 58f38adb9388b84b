"""Attempts on this machine, behind the Protocol of backends."""

import asyncio
import contextlib
import os
import resource
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from tesk.compute.backend import SEPARATE, AttemptId, Capacity, Observation, Phase, Piece, Separate, Stream, named
from tesk.compute.combined import combined
from tesk.compute.local import host, network
from tesk.compute.local.attempt import Attempt
from tesk.compute.local.cgroup import NoCgroups, find_cgroups
from tesk.compute.local.folder import Folders, Owner
from tesk.compute.local.keeper import Keeper
from tesk.compute.local.launch import Machine, check_unsafe
from tesk.compute.local.probe import try_sandbox, what_helps
from tesk.compute.local.sandbox import HostArguments, HostKind, HostPath, host_arguments
from tesk.compute.local.takeover import finish_takeovers, take_over
from tesk.compute.local.user import User, executor_user, settle_thread
from tesk.compute.machine.place import identity, neighbour, place_of, same_home
from tesk.compute.machine.processes import is_running, look_at
from tesk.compute.machine.size import capacity
from tesk.compute.plan import Plan
from tesk.errors import BackendUnavailable, StartError
from tesk.settings import LocalSettings
from tesk.transfer import Progress, Stager


class LocalBackend:
    """Runs attempts in folders below `work`, staged by `stager`. Use it between `open` and `close`, in one event loop."""

    name = "local"
    place = ""
    shared = False
    says: tuple[str, ...] = ()
    """Once open: what holds on this machine, a sentence for the network and one for the memory."""

    def __init__(self, settings: LocalSettings, work: Path, stager: Stager) -> None:
        self._settings = settings
        # By one path for all who look for it: it stands in command lines, and other servers read it in our place.
        self._work = work.resolve()
        self._stager = stager
        self._folders = Folders(self._work)
        self._attempts: dict[AttemptId, Attempt] = {}
        self._tasks: dict[AttemptId, asyncio.Task[None]] = {}
        self._left: dict[AttemptId, Observation] = {}
        self._changes: asyncio.Queue[AttemptId] = asyncio.Queue()

    async def open(self) -> None:
        descriptors = _settle_descriptors()
        user = executor_user(self._settings.user, is_root=os.geteuid() == 0)
        if user is not None and self._settings.sandbox == "none":
            raise StartError("Without a sandbox a server does not run as root; start it as another user.")
        try:
            await asyncio.to_thread(finish_takeovers, self._folders)
        except BackendUnavailable as error:
            raise StartError(str(error)) from error
        await asyncio.to_thread(self._folders.prepare)
        host.check_hidden(self._work, self._settings.visible)
        self.place = place_of(self._work)
        self._keeper = Keeper(lambda: settle_thread(user, self._work))
        self._hand = Keeper(name="hand")
        await self._keeper.open()
        await self._hand.open()
        try:
            self._machine = await self._settle(user, descriptors)
            self._folders.serve(self._machine.owner)
        except BaseException:
            await self._hand.close()
            await self._keeper.close()
            raise

    async def _settle(self, user: User | None, descriptors: tuple[int, int]) -> Machine:
        """Find out what works here, by trying it."""
        settings = self._settings
        server = look_at(os.getpid())
        assert server is not None
        machine = Machine(
            settings=settings,
            keeper=self._keeper,
            hand=self._hand,
            folders=self._folders,
            cgroups=find_cgroups(settings, identity(self._work)),
            stager=self._stager,
            user=user,
            owner=Owner(server=server, namespace=os.stat("/proc/self/ns/pid").st_ino),
            bwrap=shutil.which("bwrap") or "",
            host=HostArguments(first=(), after_own=()),
            seen=tuple(host.seen(settings.visible)),
            network="host" if settings.network == "host" else "off",
            descriptors=descriptors,
            notes=(),
        )
        if settings.sandbox == "none":
            machine = replace(machine, network="host")
            self.says = (host.UNSAFE, machine.cgroups.says)
            return replace(machine, notes=self.says)
        if not machine.bwrap:
            raise StartError("bubblewrap is not installed; try: apt install bubblewrap")
        machine = replace(machine, host=host_arguments(machine.seen, path=settings.path))
        if (wrong := await try_sandbox(machine)) is not None:
            # It may be the control groups alone: an old kernel, or somebody else's rules for them.
            machine = replace(machine, cgroups=NoCgroups())
            if await try_sandbox(machine) is not None:
                raise StartError(what_helps(wrong))
        why_off = ""
        if settings.network in {"auto", "nat"}:
            machine, wrong = await self._try_nat(machine)
            if wrong is not None and settings.network == "nat":
                raise StartError(f"local.network is nat, which does not work here: {wrong}")
            why_off = f" (nat does not work here: {wrong})" if wrong else ""
        self.says = (network.SAYS[machine.network] + why_off, machine.cgroups.says)
        loud = [network.SAYS[machine.network]] if machine.network == "host" else []
        if not machine.cgroups.holds_memory:
            loud.append(machine.cgroups.says)
        return replace(machine, notes=tuple(loud))

    async def _try_nat(self, machine: Machine) -> tuple[Machine, str | None]:
        if (missing := network.missing_for_nat()) is not None:
            return machine, missing
        resolver = self._work / "resolv.conf"
        resolver.write_text(f"nameserver {network.RESOLVER}\n")
        resolver.chmod(0o644)
        seen = (
            *(entry for entry in machine.seen if entry.path != "/etc/resolv.conf"),
            HostPath(path="/etc/resolv.conf", kind=HostKind.FILE, source=str(resolver)),
        )
        nat = replace(machine, network="nat", seen=seen, host=host_arguments(seen, path=self._settings.path))
        wrong = await try_sandbox(nat)
        return (nat, None) if wrong is None else (machine, wrong)

    async def close(self) -> None:
        for attempt in self._attempts.values():
            attempt.stop(0)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for attempt in self._attempts.values():
            attempt.release()
        self._machine.cgroups.close()
        await asyncio.to_thread(self._folders.close)
        await self._hand.close()
        await self._keeper.close()

    def owns(self, place: str) -> bool:
        return same_home(place, self.place) or self._neighbour(place) is not None

    def abandoned(self, place: str) -> bool:
        if same_home(place, self.place):
            return True
        server = other.server() if (other := self._neighbour(place)) is not None else None
        return server is not None and not is_running(server.server)

    def _neighbour(self, place: str) -> Folders | None:
        """Return the folders of another server of this machine, if we see its processes and may end them."""
        if (work := neighbour(place, self.place)) is None:
            return None
        folders = Folders(work)
        server = folders.server()
        return folders if server is not None and server.namespace == self._machine.owner.namespace else None

    async def start(self, attempt: AttemptId, plan: Plan) -> None:
        # A folder of a dead server's: `observe` empties it.
        if attempt in self._attempts or attempt in self._left or self._folders.path(attempt).exists():
            return
        if self._settings.sandbox == "none":
            check_unsafe(plan, self._settings)
        else:
            host.check_paths(plan, self._machine.seen)
        self._attempts[attempt] = ours = Attempt(
            attempt, plan, self._machine, lambda: self._changes.put_nowait(attempt)
        )
        self._tasks[attempt] = asyncio.create_task(ours.run(), name=f"attempt {attempt}")

    async def observe(self, attempt: AttemptId) -> Observation:
        if (ours := self._attempts.get(attempt)) is not None:
            return ours.observation()
        if attempt not in self._left:
            # What has no folder was not started, and still may be: by whoever makes the folder.
            if not self._folders.path(attempt).exists():
                return Observation(attempt=attempt, phase=Phase.ABSENT, since=time.time())
            await asyncio.to_thread(take_over, self._folders, attempt, self._machine.owner)
            self._machine.cgroups.remove_left()
            self._left[attempt] = Observation(
                attempt=attempt,
                phase=Phase.PREEMPTED,
                since=time.time(),
                reason="The server that ran the task on this machine went away; what it left was ended.",
                ours=True,
            )
        return self._left[attempt]

    async def progress(self, attempt: AttemptId) -> Progress | None:
        ours = self._attempts.get(attempt)
        return ours.progress if ours is not None else None

    def waiting(self, attempt: AttemptId) -> str | None:  # noqa: ARG002  one machine starts what it has room for
        return None

    async def stop(self, attempt: AttemptId, grace_seconds: float) -> None:
        if (ours := self._attempts.get(attempt)) is not None:
            ours.stop(grace_seconds)

    async def forget(self, attempt: AttemptId, place: str | None = None) -> None:
        here = place is None or same_home(place, self.place)
        folders = self._folders if here else self._neighbour(place or "")
        if folders is None:
            raise BackendUnavailable(f"The folder of attempt {attempt} cannot be reached now.")
        if (ours := self._attempts.get(attempt)) is not None:
            ours.stop(0)
            await ours.over.wait()
            if not await self._hand.call(partial(self._clear, ours)):
                await asyncio.to_thread(self._folders.discard, self._folders.path(attempt))
        else:
            await asyncio.to_thread(take_over, folders, attempt, self._machine.owner)
            self._machine.cgroups.remove_left()
            self._left.pop(attempt, None)
        if ours is not None and self._attempts.pop(attempt, None) is not None:
            await self._tasks.pop(attempt)

    def _clear(self, ours: Attempt) -> bool:
        ours.release()
        return self._folders.put_away(ours.id, alone=ours.alone)

    async def existing(self) -> AsyncIterator[AttemptId]:
        found = await asyncio.to_thread(self._existing)
        # There is no folder where another server took the attempt over, but we still hold what it had open.
        for attempt in found | self._attempts.keys():
            yield attempt

    def _existing(self) -> set[AttemptId]:
        self._folders.forget_takeovers()  # asked for by each sweep, so marks do not pile up while a server runs
        # A crash may have come between the removal of a folder and that of its control group.
        groups = (named(name) for name in self._machine.cgroups.left())
        return {*self._folders.existing(), *(attempt for attempt in groups if attempt is not None)}

    async def changes(self) -> AsyncIterator[AttemptId]:
        while True:
            yield await self._changes.get()

    def tells_all(self) -> bool:
        return False

    def room(self) -> int | None:
        return None

    async def capacity(self) -> Capacity | None:
        return capacity(self._settings, self._work)

    async def logs(self, attempt: AttemptId, executor: int, *, stream: Stream, follow: bool) -> AsyncIterator[Piece]:
        if (ours := self._attempts.get(attempt)) is not None:
            names: tuple[Separate, ...] = SEPARATE if stream == "combined" else (stream,)
            async for piece in combined(*(ours.tail(executor, name, follow=follow) for name in names)):
                yield piece


def _settle_descriptors() -> tuple[int, int]:
    """Keep what our own parent left open from programs that we start, and let this server open as much as it may.

    Returns how many descriptors those programs may have: what we had.
    """
    while (fd := os.open("/dev/null", os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(name), False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard
