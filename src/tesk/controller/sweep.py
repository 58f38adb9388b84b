"""Compare the store with the backend in both directions: what nobody holds, and what nobody wants."""

import asyncio
from collections.abc import Container, Mapping

from tesk.caller import LOCAL
from tesk.compute.backend import AttemptId, Backend
from tesk.controller.lease import Tenure
from tesk.controller.reconcile import Held
from tesk.store.rows import Claimed
from tesk.store.store import Store
from tesk.tes.state import TERMINAL, State
from tesk.tes.view import View

_PAGE = 1000


class Sweeper:
    """Finds what signals missed. `host_lost_seconds`: how long tasks of another, dead server's host are left alone."""

    def __init__(
        self,
        store: Store,
        backend: Backend,
        tenure: Tenure,
        *,
        host_lost_seconds: float,
    ) -> None:
        self._store = store
        self._backend = backend
        self._tenure = tenure
        self._host_lost_seconds = host_lost_seconds

    async def adopt(self) -> set[str]:
        """Claim tasks that no living server holds: those left to our backend at once, others' when their host is lost.

        Returns the ids of those that are still to be waited for.
        """
        after: str | None = None
        left: set[str] = set()
        while True:
            rows = await self._store.unheld(limit=_PAGE, after=after)
            wanted = [row.id for row in rows if self._may_adopt(row)]
            await asyncio.gather(*(self._store.adopt(self._tenure.lease, task_id) for task_id in wanted))
            left |= {row.id for row in rows} - set(wanted)
            if len(rows) < _PAGE:
                return left
            after = rows[-1].id

    def _may_adopt(self, row: Claimed) -> bool:
        if self._backend.abandoned(row.place):
            return True
        return row.unheld_seconds is not None and row.unheld_seconds >= self._host_lost_seconds

    async def leftovers(
        self, held: Mapping[str, Held], clearing: Container[AttemptId], unheld: Container[str]
    ) -> list[AttemptId]:
        """Return the attempts on the backend that no task wants any more. `unheld`: what nobody holds, of `adopt`."""
        found = [
            attempt
            async for attempt in self._backend.existing()
            if attempt not in clearing and not _is_held(attempt, held)
        ]
        if not self._backend.shared:
            return [attempt for attempt in found if await self._unwanted(attempt, unheld)]
        left: list[AttemptId] = []
        for start in range(0, len(found), _PAGE):
            page = found[start : start + _PAGE]
            standing = await self._store.standing([attempt.task_id for attempt in page])
            left += [attempt for attempt in page if _is_over(attempt, standing.get(attempt.task_id))]
        return left

    async def _unwanted(self, attempt: AttemptId, unheld: Container[str]) -> bool:
        task = await self._store.get(attempt.task_id, LOCAL, View.MINIMAL)
        if task is None or task.state in TERMINAL or task.state is State.QUEUED:
            return True
        rows = await self._store.claimed(self._tenure.lease, [attempt.task_id])
        if rows:
            return any(row.attempt != attempt.number for row in rows)
        # What nobody holds is somebody's to adopt, not ours to remove. What another server holds it will start anew, and
        # it waits for us to end what we still have.
        return attempt.task_id not in unheld


def _is_over(attempt: AttemptId, standing: tuple[State, int] | None) -> bool:
    """Say whether nobody wants an attempt that any server of its place may hold."""
    if standing is None:
        return True
    state, number = standing
    return state in TERMINAL or state is State.QUEUED or attempt.number < number


def _is_held(attempt: AttemptId, held: Mapping[str, Held]) -> bool:
    task = held.get(attempt.task_id)
    return task is not None and task.attempt == attempt
