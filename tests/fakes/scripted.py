"""A backend in memory whose attempts do what the test says. Small and whole: the controller cannot tell the difference."""

import asyncio
import time
from collections.abc import AsyncIterator

from msgspec.structs import replace

from tesk.compute.backend import AttemptId, Capacity, Observation, Phase, Piece
from tesk.errors import BackendUnavailable, CannotRun
from tesk.transfer import Progress


class ScriptedBackend:
    """Attempts go from phase to phase when `show` is called. `script` says what a started attempt shows at once, in order.

    `began` has every start that had an effect, in order; `most` the most attempts of one task that ran at once (1, ever).
    """

    name = "scripted"
    shared = False

    def __init__(self, place="here", capacity=None, script=()):
        self.place = place
        self.script = tuple(script)
        self.began: list[AttemptId] = []
        self.stopped: list[tuple[AttemptId, float]] = []
        self.most = 0
        self.moving: dict[AttemptId, Progress] = {}
        self.most_running: int | None = None
        self._capacity = capacity
        self._seen: dict[AttemptId, Observation] = {}
        self._changes: asyncio.Queue[AttemptId] = asyncio.Queue()
        self._moved = asyncio.Event()

    # -- for the test ---------------------------------------------------------------------------------------------
    def show(self, attempt, phase, **more):
        """Have an attempt reach a phase, and say so."""
        old = self._seen.get(attempt) or Observation(attempt=attempt, phase=Phase.ABSENT, since=0)
        self._seen[attempt] = replace(old, phase=Phase(phase), since=time.time(), **more)
        self._changes.put_nowait(attempt)
        self._tell()

    async def until(self, true):
        """Wait until something about this backend is true."""
        async with asyncio.timeout(20):
            while not true():
                self._moved.clear()
                await self._moved.wait()

    def running(self, task_id):
        """Return the attempts of a task of which something runs."""
        return [each for each, seen in self._seen.items() if each.task_id == task_id and not seen.phase.ended]

    def _tell(self):
        for attempt in self._seen:
            self.most = max(self.most, len(self.running(attempt.task_id)))
        self._moved.set()

    # -- the Protocol -----------------------------------------------------------------------------------------------
    async def open(self):
        pass

    async def close(self):
        pass

    def owns(self, place):
        return place == self.place

    def abandoned(self, place):
        return self.owns(place)

    async def start(self, attempt, plan):
        if attempt in self._seen:
            return
        self.began.append(attempt)
        self._seen[attempt] = Observation(attempt=attempt, phase=Phase.STAGING, since=time.time())
        self._tell()
        for phase in self.script:
            self.show(attempt, phase)

    async def progress(self, attempt):
        return self.moving.get(attempt)

    def waiting(self, attempt):
        return self._seen[attempt].waiting if attempt in self._seen else None

    def tells_all(self):
        return False

    def room(self):
        return (
            None
            if self.most_running is None
            else self.most_running - sum(not s.phase.ended for s in self._seen.values())
        )

    async def observe(self, attempt):
        return self._seen.get(attempt) or Observation(attempt=attempt, phase=Phase.ABSENT, since=time.time())

    async def stop(self, attempt, grace_seconds):
        self.stopped.append((attempt, grace_seconds))
        if attempt in self._seen and not self._seen[attempt].phase.ended:
            self.show(attempt, Phase.PREEMPTED, reason="Stopped", ours=True)
        self._tell()

    async def forget(self, attempt, place=None):
        self._seen.pop(attempt, None)
        self._tell()

    async def existing(self):
        for attempt in list(self._seen):
            yield attempt

    async def changes(self) -> AsyncIterator[AttemptId]:
        while True:
            yield await self._changes.get()

    async def capacity(self):
        return self._capacity

    async def logs(self, attempt, executor, *, stream, follow):
        yield Piece(stream, 0, b"")


class RefusingBackend(ScriptedBackend):
    """Says of each task that it will never run here."""

    async def start(self, attempt, plan):
        raise CannotRun("No place for /dev/x in a sandbox")


class AbsentBackend(ScriptedBackend):
    """Cannot be asked the first few times."""

    calls = 3

    async def start(self, attempt, plan):
        self.calls -= 1
        if self.calls >= 0:
            raise BackendUnavailable("The cluster does not answer")
        await super().start(attempt, plan)


class BrokenBackend(ScriptedBackend):
    """Has a bug that shows with some tasks only: those whose names begin with `bad`."""

    async def start(self, attempt, plan):
        if (plan.name or "").startswith("bad"):
            raise ZeroDivisionError("a bug")
        await super().start(attempt, plan)


class DeafBackend(ScriptedBackend):
    """Never tells of changes: all must be found by looking."""

    async def changes(self):
        await asyncio.Event().wait()
        yield AttemptId("", 0)


def small(cores=8, ram_gb=16, disk_gb=100, gpus=0):
    """Return a capacity."""
    return Capacity(cpu_cores=cores, ram_bytes=ram_gb * 10**9, disk_bytes=disk_gb * 10**9, gpus=gpus)
