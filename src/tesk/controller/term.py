"""The loops of one lease: who starts, what changed, what the sweep finds. Ends with LeaseLost or when canceled."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from enum import Enum
from math import ceil, inf

from tesk.compute.backend import AttemptId, Backend, Capacity
from tesk.controller.admission import Need, Refused, admit, need, nobodys, room, too_large
from tesk.controller.decide import Limits, Stop
from tesk.controller.lease import Tenure
from tesk.controller.newcomers import Newcomers
from tesk.controller.patience import Patience
from tesk.controller.reconcile import Held, Reconciler, Refusal
from tesk.controller.sweep import Sweeper
from tesk.controller.workqueue import WorkQueue
from tesk.errors import Unavailable
from tesk.settings import Settings
from tesk.store.rows import ENDLESS, Claimed, Room, Waiting
from tesk.store.store import Store
from tesk.telemetry.metrics import Metrics
from tesk.tes.ids import made_at
from tesk.tes.state import TERMINAL, State

_log = logging.getLogger(__name__)

_WORKERS = 64
_CLEANERS = 4
_CLEANERS_BY_CALLS = 16
"""Where a backend is shared, to forget an attempt is to wait for a few answers; elsewhere it is work of this machine."""

_WINDOW = 256
"""How many waiting tasks are looked at for a start. However many wait, a look costs no more."""

_CLEARING_LIMIT = 256
"""With so many attempts not yet forgotten nothing new is started: folders must not pile up."""

_PAGE = 1000
_ROUNDS = 60
"""In so many sweeps each task is looked at, where the backend tells of all that changes."""
_SHORT_SECONDS = 1.0

_PRUNE_SECONDS = 3600.0
_DAY_SECONDS = 86400.0

_RETRY_SECONDS = 0.2


class Chore(Enum):
    """What is done now and then, beside looking at a task."""

    ADMIT = "see which of the waiting fit now"
    MEASURE = "see which of those that came can never fit"
    CANCELS = "see which of our tasks were canceled"
    SWEEP = "see everything, signals or not"
    PRUNE = "remove what was kept for long enough"


Job = str | Chore
"""A task's id: look at it, begin it, start it, record what became of it. Or a chore."""


class Term:
    """What one lease holds and does. `held` are its tasks; `shutdown` and `draining` are set from outside."""

    def __init__(
        self,
        store: Store,
        backend: Backend,
        tenure: Tenure,
        capacity: Capacity | None,
        *,
        settings: Settings,
        limits: Limits,
        clock: Callable[[], float],
        metrics: Metrics,
        beat: Callable[[], None],
        refusal: Refusal,
    ) -> None:
        self._store = store
        self._backend = backend
        self._tenure = tenure
        self._settings = settings.controller
        self._kept_days = (settings.retention.tasks_days, settings.retention.events_days)
        self._clock = clock
        self._metrics = metrics
        self._beat = beat
        self._reconciler = Reconciler(
            store,
            backend,
            tenure,
            limits=limits,
            tail_bytes=settings.limits.log_tail_bytes,
            clock=clock,
            ended=self._ended,
            refusal=refusal,
        )
        self._lost_seconds = settings.host_lost_seconds
        self._sweeper = Sweeper(store, backend, tenure, host_lost_seconds=self._lost_seconds)
        self._jobs = WorkQueue[Job]()
        self._clearing = WorkQueue[AttemptId]()
        self._patience = Patience(self._fault)
        self._beginning: dict[str, Need] = {}
        self._canceled: set[str] = set()  # of those that are beginning
        self._newcomers = Newcomers(store, clock)
        self._window: list[Waiting] = []
        self._window_old = self._due_old = True
        self._window_due = inf
        self._stirred = True  # something came or went since the last choice: else it would come out the same
        self._short = False  # the backend takes no more of those that wait
        self._round: list[str] = []
        self._capacity = capacity
        self._others: Sequence[Room] = []
        self._began = time.monotonic()
        self.held: dict[str, Held] = {}
        self.draining = False
        self.idle = asyncio.Event()

    async def run(self) -> None:
        """Run all loops. Raises an ExceptionGroup with LeaseLost when the lease is gone."""
        self._jobs.add(Chore.SWEEP)
        self._jobs.add_later(Chore.PRUNE, _PRUNE_SECONDS / 60)
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._tenure.keep())
                loops.create_task(self._listen("the store's signals", self._hear_store))
                loops.create_task(self._listen("the backend's signals", self._hear_backend))
                for _ in range(_WORKERS):
                    loops.create_task(self._patience.work(self._jobs, self._do))
                for _ in range(_CLEANERS_BY_CALLS if self._backend.shared else _CLEANERS):
                    loops.create_task(self._patience.work(self._clearing, self._clear))
        finally:
            self._jobs.close()
            self._clearing.close()

    def drain(self, shutdown: Stop | None) -> None:
        """Start nothing new; with `shutdown`, stop what runs and queue it again."""
        self.draining = True
        self._reconciler.shutdown = shutdown
        for task_id in self.held:
            self._jobs.add(task_id)
        self._mark_idle()

    def _fault(self, name: Hashable) -> None:
        if isinstance(name, str) and name in self.held:
            self.held[name].faults += 1

    # -- signals ----------------------------------------------------------------------------------------------------
    async def _listen(self, name: str, hear: Callable[[], Awaitable[None]]) -> None:
        while True:
            wait = await self._patience.attempt(name, hear)
            if wait is not None:
                self._jobs.add_later(Chore.SWEEP, wait)  # what was missed meanwhile
                await asyncio.sleep(wait)

    async def _hear_store(self) -> None:
        cancels = await self._store.work(self._settings.sweep_seconds)
        self._window_old = True
        self._jobs.add(Chore.ADMIT)
        if cancels and (self.held or self._beginning):
            self._jobs.add(Chore.CANCELS)

    async def _hear_backend(self) -> None:
        async for attempt in self._backend.changes():
            held = self.held.get(attempt.task_id)
            if held is not None and held.attempt == attempt:
                self._jobs.add(attempt.task_id)
            if self._short:
                self._jobs.add(Chore.ADMIT)

    # -- work ---------------------------------------------------------------------------------------------------------
    async def _do(self, job: Job) -> None:
        match job:
            case str(task_id):
                await self._look(task_id)
            case Chore.ADMIT:
                await self._admit()
            case Chore.MEASURE:
                await self._measure()
            case Chore.CANCELS:
                self._cancel(await self._store.canceling(self._tenure.lease))
            case Chore.SWEEP:
                await self._sweep()
            case Chore.PRUNE:
                await self._prune()

    async def _look(self, task_id: str) -> None:
        if task_id in self._beginning:
            if self.draining:  # it was chosen just before
                self._begun(task_id)
                self._mark_idle()
            else:
                await self._begin(task_id)
        held = self.held.get(task_id)
        if held is None:
            return
        wait = await self._reconciler.look(held) - self._clock()
        held.faults = 0
        if wait < self._settings.sweep_seconds and task_id in self.held:
            self._jobs.add_later(task_id, max(0.0, wait))

    async def _begin(self, task_id: str) -> None:
        claimed = None
        try:
            claimed = await self._store.begin(self._tenure.lease, task_id, self._clock())
        except Unavailable:
            self._jobs.add_later(Chore.SWEEP, _RETRY_SECONDS)  # it may have been begun or not
            raise
        finally:
            canceled = self._begun(task_id)
            if claimed is None:
                self._window_old = self._stirred = True
                self._jobs.add_later(Chore.ADMIT, 0)
                self._mark_idle()
        if claimed is not None:
            self.held[task_id] = Held(claimed, fresh=True, stale=canceled)
            if claimed.attempt == 1:
                self._metrics.started(max(0.0, claimed.started - made_at(task_id)))

    def _begun(self, task_id: str) -> bool:
        """A task is not beginning any more; say whether it was canceled meanwhile."""
        del self._beginning[task_id]
        canceled = task_id in self._canceled
        self._canceled.discard(task_id)
        return canceled

    async def _admit(self) -> None:
        if self.draining or len(self._clearing) > _CLEARING_LIMIT:
            return
        await self._fill_window()
        if self._stirred:
            self._stirred = False
            await self._choose()
            if self._short:
                self._stirred = True
                self._jobs.add_later(Chore.ADMIT, _SHORT_SECONDS)
        # Others wait behind the window, or just came, or are left out of it.
        if (self._window_old or self._others) and self._capacity is not None:
            self._jobs.add_later(Chore.MEASURE, self._newcomers.due_in())

    async def _choose(self) -> None:
        running = [] if self._capacity is None else [held.need for held in self.held.values()]
        most = self._backend.room()
        if most is not None:
            most = max(0, most - len(self._beginning))
            self._short = most < len(self._window)
        admission = admit(self._window, [*running, *self._beginning.values()], self._capacity, most)
        settled = {task.id for task in admission.start} | {refused.task.id for refused in admission.refuse}
        if settled:
            self._window = [task for task in self._window if task.id not in settled]
        for task in admission.start:
            self._beginning[task.id] = need(task)
            self._jobs.add(task.id)
        await self._refuse(admission.refuse)

    async def _measure(self) -> None:
        """Refuse those behind the window that can never fit: they need not wait for it to come to them."""
        if self._capacity is None or self.draining:
            return
        async for page in self._newcomers.pages():
            await self._refuse(too_large(page, self._capacity))
            await asyncio.sleep(0)  # a file answers at once, and others want their turn between two pages

    async def _refuse(self, refused: Sequence[Refused]) -> None:
        if not refused:
            return
        await self._look_around()
        now, lease = self._clock(), self._tenure.lease
        await asyncio.gather(
            *(self._store.refuse(lease, each.task.id, each.note, now) for each in nobodys(refused, self._others))
        )

    async def _look_around(self) -> None:
        """See what other servers could hold: what is too large for this one is theirs, as long as they are there."""
        if self._capacity is None:
            return
        # Where all servers were down, the first one that is back gives the others their time to come.
        waited = time.monotonic() - self._began >= self._lost_seconds
        others = await self._store.others(self._tenure.lease, self._lost_seconds if waited else _DAY_SECONDS)
        if others != self._others:
            self._others = others
            self._window_old = True
            self._window.clear()
            self._newcomers.forget()
            self._jobs.add(Chore.ADMIT)

    async def _fill_window(self) -> None:
        """Read the oldest that wait, unless enough of them are known and nothing says that there are older ones."""
        now = self._clock()
        due = now >= self._window_due
        if due or (self._window_old and len(self._window) <= _WINDOW // 2):
            self._window_old = False  # before the read: a signal may come while it is under way
            # What waits for another server must not fill the window.
            within = room(self._capacity) if self._others else ENDLESS
            rows = await self._store.waiting(limit=_WINDOW, after=None, now=now, within=within)
            self._window = [task for task in rows if task.id not in self._beginning and task.id not in self.held]
            self._stirred = True
            # More may wait behind a full page: then it is read again as soon as half of it is used up.
            self._window_old |= len(rows) == _WINDOW
            if len(rows) < _WINDOW and not self._others:
                self._newcomers.known(now)
        if due or self._due_old:
            self._due_old = False
            self._window_due = await self._store.next_due(now) or inf
        if self._window_due < inf:
            self._jobs.add_later(Chore.ADMIT, max(0.0, self._window_due - now))

    async def _sweep(self) -> None:
        self._beat()
        self._jobs.add_later(Chore.SWEEP, self._settings.sweep_seconds)
        await self._look_around()
        unheld = await self._sweeper.adopt()
        claims = await self._store.claims(self._tenure.lease)
        for task_id in self.held.keys() - claims.keys():
            self.held[task_id].stale = True
        unknown = [task_id for task_id in claims if task_id not in self.held and task_id not in self._beginning]
        for start in range(0, len(unknown), _PAGE):
            self._take_in(await self._store.claimed(self._tenure.lease, unknown[start : start + _PAGE]))
        self._cancel([task_id for task_id, state in claims.items() if state is State.CANCELING])
        for task_id in self._to_look_at():
            self._jobs.add(task_id)
        for attempt in await self._sweeper.leftovers(self.held, self._clearing, unheld):
            self._clearing.add(attempt)
        self._window_old = self._due_old = True
        self._window.clear()
        self._jobs.add(Chore.ADMIT)
        self._beat()

    def _to_look_at(self) -> Sequence[str]:
        """All; or in turn, where the backend tells of what changes: looking at ten thousand would be most of the work."""
        if not self._backend.tells_all():
            return [*self.held]
        self._round = self._round or [*self.held]
        count = ceil(len(self.held) / _ROUNDS)
        turn, self._round = self._round[:count], self._round[count:]
        stale = [task_id for task_id, held in self.held.items() if held.stale]
        return [*stale, *(task_id for task_id in turn if task_id in self.held)]

    async def _prune(self) -> None:
        self._jobs.add_later(Chore.PRUNE, _PRUNE_SECONDS)
        tasks, events = (days and self._clock() - days * 86400 for days in self._kept_days)
        if tasks or events:
            counts = await self._store.prune(tasks_before=tasks or None, events_before=events or None)
            _log.info(
                "Removed %d ended tasks and %d events that were kept for long enough", counts.tasks, counts.events
            )

    def _take_in(self, rows: Sequence[Claimed]) -> None:
        """Compare what the store says we hold with what we know."""
        for row in rows:
            if row.id not in self.held and row.id not in self._beginning:
                # It may have ended since the rows were read, and must not be started again: it is read once more.
                self.held[row.id] = Held(row, stale=True)

    def _cancel(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            held = self.held.get(task_id)
            if task_id in self._beginning:
                self._canceled.add(task_id)
            elif held is not None and held.claimed.state is not State.CANCELING:
                held.stale = True
                self._jobs.add(task_id)

    async def _clear(self, attempt: AttemptId) -> None:
        await self._reconciler.forget(attempt)
        if len(self._clearing) == _CLEARING_LIMIT + 1:  # with this one gone, starts go on
            self._jobs.add(Chore.ADMIT)
        self._mark_idle(leaving=1)

    def _ended(self, held: Held) -> None:
        task = held.claimed
        del self.held[task.id]
        self._stirred = True
        self._patience.forget(task.id)
        self._jobs.drop(task.id)
        if task.place == self._backend.place:
            self._clearing.add(held.attempt)
        if task.state is State.QUEUED:
            self._window_old = self._due_old = True
        if task.state is State.QUEUED or task.state in TERMINAL:  # else it went to somebody else
            self._metrics.ended(task.state, max(0.0, self._clock() - task.started))
        self._jobs.add(Chore.ADMIT)
        self._mark_idle()

    def _mark_idle(self, leaving: int = 0) -> None:
        if self.draining and not self.held and not self._beginning and len(self._clearing) == leaving:
            self.idle.set()
