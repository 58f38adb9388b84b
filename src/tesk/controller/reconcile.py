"""Make one task right: observe it, decide, act, record."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from msgspec import json
from msgspec.structs import replace

from tesk.caller import LOCAL
from tesk.compute.backend import AttemptId, Backend, Observation, Phase
from tesk.compute.plan import Plan, make_plan
from tesk.controller.admission import Need, need
from tesk.controller.decide import STOPPING, Forget, Limits, Start, Stop, Wait, Why, decide, is_news, say
from tesk.controller.lease import Tenure
from tesk.errors import BackendUnavailable, CannotRun, Unavailable
from tesk.store.rows import Claimed, Move
from tesk.store.store import Store
from tesk.tes.state import ACTIVE, State
from tesk.tes.view import View
from tesk.transfer import TransferList

Refusal = Callable[[TransferList], str | None]
"""Says why data can never come or go, as far as that is known before anything runs; None: nothing speaks against it."""

_log = logging.getLogger(__name__)

_CALL_SECONDS = 60.0
_FORGET_SECONDS = 900.0
_SHORT_SECONDS = 0.2
"""When a started attempt is looked at, signals or not. One that is over by then has RUNNING and its end in one commit."""

_STEPS = 8
"""More steps than any one observation can call for."""

_EMPTIED = "The server that ran the task on this machine went away; what it left was ended."

_FAULTS = 3
"""After so many faults of our own in a row an attempt counts as lost; without a bound it would rest in its state for ever."""


@dataclass(slots=True)
class Held:
    """A task that this server has claimed, as far as it knows. `fresh`: begun just now, so nothing of it is there yet.

    `since` is when that was, by a clock that nobody sets back. `told`: what was written down of why it waits;
    None: another server may have, and its words were not read yet.
    """

    claimed: Claimed
    fresh: bool = False
    stale: bool = False
    asked: Stop | None = None
    faults: int = 0
    told: tuple[str, ...] | None = None
    since: float = field(default_factory=time.monotonic)
    need: Need = field(init=False)

    def __post_init__(self) -> None:
        self.need = need(self.claimed)
        if self.fresh:
            self.told = ()

    @property
    def attempt(self) -> AttemptId:
        """The attempt that counts."""
        return AttemptId(self.claimed.id, self.claimed.attempt)


class Reconciler:
    """Looks at one held task at a time; what it needs, it is given.

    `tail_bytes` of each stream go into an ExecutorLog. `ended` is told of every task that is no longer held, with the
    state that it was left in.
    """

    def __init__(
        self,
        store: Store,
        backend: Backend,
        tenure: Tenure,
        *,
        limits: Limits,
        tail_bytes: int,
        clock: Callable[[], float],
        ended: Callable[[Held], None],
        refusal: Refusal,
    ) -> None:
        self._store = store
        self._backend = backend
        self._tenure = tenure
        self._limits = limits
        self._tail_bytes = tail_bytes
        self._clock = clock
        self._ended = ended
        self._refusal = refusal
        self.shutdown: Stop | None = None

    async def look(self, held: Held) -> float:
        """Do what is to be done for a task now; return when it wants another look even if nothing happens.

        Raises LeaseLost, Unavailable, BackendUnavailable, TimeoutError; then it may be called again.
        """
        if held.stale and not await self._refresh(held):
            return inf
        seen = await self._observe(held)
        told = await self._told(held) if seen.waiting is not None or seen.phase is Phase.PREEMPTED else ()
        before: Move | None = None
        for _ in range(_STEPS):
            decision = decide(
                held.claimed if before is None else replace(held.claimed, state=before.new),
                seen=seen,
                now=self._clock(),
                limits=self._limits,
                asked=held.asked,
                shutdown=self.shutdown,
                ran_seconds=time.monotonic() - held.since,
                chance=random.random(),
                told=told,
            )
            match decision:
                case Move():
                    if decision.new is State.RUNNING and seen.phase.ended:
                        before = decision  # what follows goes into the same commit
                        continue
                    move = decision if before is None else replace(decision, old=before.old, via=before.new)
                    before = None
                    if move.old is move.new:
                        told = held.told = told + move.results.notes
                    if not await self._record(held, move):
                        return inf
                case Start():
                    failed = await self._start(held)
                    if failed is None:
                        return self._clock() + _SHORT_SECONDS
                    seen = failed
                case Stop(why, grace):
                    if not await self._leave_word(held, why):
                        return inf
                    async with asyncio.timeout(_CALL_SECONDS + grace):
                        await self._backend.stop(held.attempt, grace)
                    held.asked = decision
                    return inf
                case Forget(then):
                    # Elsewhere it was emptied when it was looked at, or is out of reach.
                    if held.claimed.place == self._backend.place:
                        await self.forget(held.attempt)
                    if then is None or not await self._record(held, then):
                        return inf
                case Wait(until):
                    return until
        return self._clock() + 1.0

    async def forget(self, attempt: AttemptId, place: str | None = None) -> None:
        """Have the backend forget an attempt whose results are stored, or unwanted. See `Backend.forget`."""
        async with asyncio.timeout(_FORGET_SECONDS):
            await self._backend.forget(attempt, place)

    async def _observe(self, held: Held) -> Observation:
        if held.fresh:
            return Observation(attempt=held.attempt, phase=Phase.ABSENT, since=self._clock())
        place = held.claimed.place
        if not self._backend.owns(place):
            return self._failed(held, "Its server and host went away and did not come back", final=True)
        if held.faults >= _FAULTS:
            await self.forget(held.attempt, place)
            return self._failed(held, f"Given up after {held.faults} faults in a row; the server's log says more")
        if place != self._backend.place:
            # Begun by another server: what it had is emptied there, and nothing of it can be started late.
            await self.forget(held.attempt, place)
            return Observation(
                attempt=held.attempt, phase=Phase.PREEMPTED, since=self._clock(), reason=_EMPTIED, ours=True
            )
        async with asyncio.timeout(_CALL_SECONDS):
            return await self._backend.observe(held.attempt)

    def _failed(self, held: Held, reason: str, *, final: bool = False) -> Observation:
        return Observation(
            attempt=held.attempt, phase=Phase.SYSTEM_FAILED, since=self._clock(), reason=reason, final=final
        )

    async def _start(self, held: Held) -> Observation | None:
        self._tenure.sure()
        held.fresh = False
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                plan = self._plan(held.claimed)
                # It looks at links of this machine, which may lie on a file system that is slow.
                moves = plan.transfer.outputs or any(fetch.far for fetch in plan.transfer.inputs)
                if moves and (why := await asyncio.to_thread(self._refusal, plan.transfer)):
                    return self._failed(held, why, final=True)
                await self._backend.start(held.attempt, plan)
        except CannotRun as never:
            return self._failed(held, str(never), final=True)
        except BackendUnavailable as later:
            if is_news(str(later), await self._told(held)):
                await self._say(held, str(later))
            raise
        return None

    async def _leave_word(self, held: Held, why: Why) -> bool:
        """Write down why an attempt is about to be asked to end; say whether the task is still held."""
        try:
            return why not in STOPPING or await self._say(held, STOPPING[why])
        except Unavailable:
            if why is not Why.SHUTDOWN:
                raise
            return True  # what ends with this server has its grace now or never

    async def _say(self, held: Held, sentence: str) -> bool:
        """Write a sentence into the attempt's `system_logs`, once; say whether the task is still held."""
        told = await self._told(held)
        if sentence in told:
            return True
        kept = await self._record(held, say(held.claimed, sentence, self._clock()))
        held.told = (*told, sentence)
        return kept

    async def _told(self, held: Held) -> tuple[str, ...]:
        """Return what stands in the attempt's `system_logs`, read once where another server may have written there."""
        if held.told is None:
            task = await self._store.get(held.claimed.id, LOCAL, View.FULL)
            last = task.attempts[-1] if task is not None and task.attempts else None
            ours = last is not None and last.number == held.claimed.attempt
            held.told = tuple(json.decode(last.system_logs, type=list[str])) if last is not None and ours else ()
        return held.told

    def _plan(self, task: Claimed) -> Plan:
        return make_plan(
            task.task,
            task_id=task.id,
            owner=task.owner,
            extension=task.extension,
            cpu_cores=task.cpu_cores,
            ram_bytes=task.ram_bytes,
            disk_bytes=task.disk_bytes,
            tail_bytes=self._tail_bytes,
        )

    async def _record(self, held: Held, move: Move) -> bool:
        """Make a move; say whether the task is still held, and then in the state that the store has."""
        try:
            moved = await self._store.move(self._tenure.lease, move)
        except BaseException:
            held.stale = True  # it may have happened or not
            raise
        if not moved:
            self._tenure.sure()
            return await self._refresh(held)
        held.claimed = replace(held.claimed, state=move.new)
        if held.claimed.state in ACTIVE and held.claimed.state is not State.QUEUED:
            return True
        self._ended(held)
        return False

    async def _refresh(self, held: Held) -> bool:
        """Read what the store has; say whether the task is still held."""
        held.stale = False  # before the read: what is told of while it is under way is not in it
        rows = None
        try:
            rows = await self._store.claimed(self._tenure.lease, [held.claimed.id])
        finally:
            held.stale |= rows is None
        if rows and rows[0].attempt == held.claimed.attempt:
            held.claimed = rows[0]
            return True
        self._ended(held)
        return False
