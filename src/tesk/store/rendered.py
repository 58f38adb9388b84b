"""Tasks as JSON, kept in memory while their marks stay. Marks are read anew each time: whose a task is, and whether it changed.

Mark and pieces are two reads, between which a task may move. So what was rendered is kept under the mark that came with
the very pieces, never under the one that was looked for.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tesk.caller import Caller
from tesk.store.rows import ListQuery, Mark, StoredTask, state_of, state_text, task_of
from tesk.store.store import Store
from tesk.tes.state import State
from tesk.tes.view import View, minimal, render

_KEPT_BYTES = 32 * 1024 * 1024
_ENTRY_BYTES = 300
"""What the interpreter adds to each."""
_SHARE = 64
"""One task takes at most such a part of a half."""


class RenderedTask(NamedTuple):
    """A task in one view, and its state in that."""

    state: State
    json: bytes


class RenderedPage(NamedTuple):
    """One page of a list in one view. See `Page`."""

    tasks: list[bytes]
    next_before: str | None


class Rendered:
    """Shows the tasks of a store, in one event loop."""

    def __init__(self, store: Store, kept_bytes: int = _KEPT_BYTES) -> None:
        self._store = store
        self._kept = {view: _Kept(kept_bytes // 2) for view in (View.BASIC, View.FULL)}

    async def get(self, task_id: str, caller: Caller, view: View) -> RenderedTask | None:
        """Return a task as it stands, None where there is none that the caller may see. Raises Unavailable."""
        mark = await self._store.mark(task_id, caller)
        if mark is None:
            return None
        if view is View.MINIMAL:
            return RenderedTask(state_of(mark), _minimal(mark))
        json = self._kept[view].find(mark)
        if json is not None:
            return RenderedTask(state_of(mark), json)
        task = await self._store.get(task_id, caller, view)
        return None if task is None else RenderedTask(task.state, self._render(task, view))

    async def list(self, query: ListQuery, view: View) -> RenderedPage:
        """Return one page, each task as it stands. Raises Unavailable."""
        page = await self._store.list(query)
        if view is View.MINIMAL:
            return RenderedPage([_minimal(mark) for mark in page.marks], page.next_before)
        found = self._kept[view].find_all(page.marks)
        if not all(found):
            missing = [task_of(mark) for mark, json in zip(page.marks, found, strict=True) if json is None]
            # One that has left the state asked for since is not of this list any more.
            fresh = {
                task.id: self._render(task, view)
                for task in await self._store.tasks(missing, view)
                if query.state in (None, task.state)
            }
            found = [json or fresh.get(task_of(mark)) for mark, json in zip(page.marks, found, strict=True)]
        return RenderedPage([json for json in found if json is not None], page.next_before)

    def _render(self, task: StoredTask, view: View) -> bytes:
        json = render(task, view)
        self._kept[view].keep(task.mark, json)
        return json


def _minimal(mark: Mark) -> bytes:
    return minimal(task_of(mark), state_text(mark))


class _Kept:
    """JSON by mark, in bounded memory. When the younger half is full, what was not asked for since the last time goes.

    That is nearly the least recently used, for one look into a dict; to keep an order would cost three times as much.
    """

    def __init__(self, most_bytes: int) -> None:
        self._half_bytes = most_bytes // 2
        self._young: dict[Mark, bytes] = {}
        self._old: dict[Mark, bytes] = {}
        self._young_bytes = 0

    def find(self, mark: Mark) -> bytes | None:
        json = self._young.get(mark)
        if json is None and (json := self._old.get(mark)) is not None:
            self.keep(mark, json)
        return json

    def find_all(self, marks: Sequence[Mark]) -> list[bytes | None]:
        found = [*map(self._young.get, marks)]
        return found if all(found) else [*map(self.find, marks)]

    def keep(self, mark: Mark, json: bytes) -> None:
        size = len(json) + _ENTRY_BYTES
        if size > self._half_bytes // _SHARE:
            return
        if self._young_bytes + size > self._half_bytes:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[mark] = json
        self._young_bytes += size
