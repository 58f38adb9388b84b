"""What can be done with tasks, whoever asks and over whatever wire: create, get, list, cancel, service info."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from tesk import __version__
from tesk.caller import Caller
from tesk.compute.plan import gpus_of
from tesk.errors import NotFound
from tesk.settings import DefaultsSettings, Settings
from tesk.store.rendered import Rendered, RenderedPage, RenderedTask
from tesk.store.rows import Callback, Created, ListQuery, NewTask, StoredTask, task_of
from tesk.store.store import Store
from tesk.tes.ids import Ids, is_id
from tesk.tes.messages import Organization, ServiceInfo, ServiceType
from tesk.tes.parameters import ListTasks
from tesk.tes.selection import CancelTasks, Filter
from tesk.tes.state import State
from tesk.tes.task import Resources
from tesk.tes.validation import Accepted
from tesk.tes.view import View

_NOTHING = Resources()
_CANCELABLE = (State.QUEUED, State.INITIALIZING, State.RUNNING)
_PAGE = 256
"""Tasks that are canceled in one transaction: others wait for it."""
_ROUNDS = 3
_AFTER = "~"
"""Behind an id it is greater than that, and less than all greater ids."""


def new_task(
    task_id: str,
    defaults: DefaultsSettings,
    caller: Caller,
    accepted: Accepted,
    *,
    now: float,
    idempotency_key: str | None = None,
    body_hash: bytes = b"",
    callback: Callback | None = None,
) -> NewTask:
    """Return a task as it is stored. What it does not ask for is taken from `defaults`, in the row, not in the body.

    `now` in seconds since the epoch.
    """
    task, exact = accepted.task, accepted.extension.cpu_cores
    asked = task.resources or _NOTHING
    return NewTask(
        id=task_id,
        owner=caller.name,
        name=task.name or "",
        body=accepted.body,
        extension=accepted.extension,
        tags=task.tags or {},
        # Nothing and 0 are the same: many clients write every field.
        cpu_cores=float(exact or asked.cpu_cores or defaults.cpu_cores),
        ram_bytes=round((asked.ram_gb or defaults.ram_gb) * 1e9),
        disk_bytes=round((asked.disk_gb or defaults.disk_gb) * 1e9),
        gpus=gpus_of(task),
        created=now,
        idempotency_key=idempotency_key,
        body_hash=body_hash,
        callback=callback,
    )


def create_task(
    store: Store,
    ids: Ids,
    defaults: DefaultsSettings,
    caller: Caller,
    accepted: Accepted,
    *,
    now: float,
    idempotency_key: str | None = None,
    body_hash: bytes = b"",
    callback: Callback | None = None,
) -> asyncio.Future[Created]:
    """CreateTask: store a task durably; the future ends when it is. See `new_task`.

    The future ends with Overloaded before anything is stored, Unprocessable, Unavailable.
    """
    return store.create(
        new_task(
            ids.make(now),
            defaults,
            caller,
            accepted,
            now=now,
            idempotency_key=idempotency_key,
            body_hash=body_hash,
            callback=callback,
        )
    )


async def get_task(rendered: Rendered, caller: Caller, task_id: str, view: View) -> RenderedTask:
    """GetTask. Raises NotFound, also for a task of somebody else."""
    task = await rendered.get(task_id, caller, view) if is_id(task_id) else None
    if task is None:
        raise _no_task(task_id)
    return task


async def find_task(store: Store, caller: Caller, task_id: str, view: View) -> StoredTask:
    """Return a task for what TESK tells beside TES. Raises NotFound, also for a task of somebody else."""
    task = await store.get(task_id, caller, view) if is_id(task_id) else None
    if task is None:
        raise _no_task(task_id)
    return task


async def list_tasks(rendered: Rendered, caller: Caller, asked: ListTasks) -> RenderedPage:
    """ListTasks: one page of the caller's tasks (an admin's: of all), newest first."""
    query = ListQuery(
        owner=None if caller.admin else caller.name,
        state=asked.state,
        name_prefix=asked.name_prefix,
        tags=asked.tags,
        page_size=asked.page_size,
        before=asked.page_token,
    )
    return await rendered.list(query, asked.view)


async def cancel_task(store: Store, caller: Caller, task_id: str, now: float) -> None:
    """CancelTask: ask for the end of a task; one that has ended stays as it is. Raises NotFound."""
    if not is_id(task_id) or await store.cancel(task_id, caller, now) is None:
        raise _no_task(task_id)


class Canceled(Struct, frozen=True, kw_only=True):
    """How many tasks a filter has matched, and for how many of them the end was asked for now."""

    matched: int
    canceled: int
    dry_run: bool


async def cancel_tasks(store: Store, caller: Caller, asked: CancelTasks, now: float) -> Canceled:
    """Ask for the end of all that fit a filter, of tasks that are there when it begins: page by page, each a transaction.

    May be repeated, also where it was broken off.
    """
    states = frozenset(asked.filter.state or _CANCELABLE)
    # In the order of their lives, so that who moves on meanwhile is met later; what cannot be canceled is counted first.
    order = sorted(states, key=lambda state: _CANCELABLE.index(state) if state in _CANCELABLE else -1)
    newest = await store.newest_id()
    matched = canceled = 0
    for _ in range(_ROUNDS):
        moved = 0
        async for page in _matching(store, caller, asked.filter, order, newest):
            matched += len(page)
            if page and not asked.dry_run:
                moved += len(await store.cancel_all(page, caller, states, now))
        canceled += moved
        # Who went back to the queue meanwhile was missed.
        order = [state for state in order if state in _CANCELABLE]
        if not moved or asked.filter.ids is not None:
            break
    return Canceled(matched=matched, canceled=canceled, dry_run=asked.dry_run)


async def _matching(
    store: Store, caller: Caller, which: Filter, states: Sequence[State], newest: str | None
) -> AsyncIterator[Sequence[str]]:
    """Yield the ids of tasks that fit, some at a time."""
    if which.ids is not None:
        ids = [each for each in dict.fromkeys(which.ids) if is_id(each)]
        for start in range(0, len(ids), _PAGE):
            found = await store.tasks(ids[start : start + _PAGE], View.MINIMAL)
            yield [each.id for each in found if each.state in states and caller.may_see(each.owner)]
        return
    for state in states:
        before = None if newest is None else newest + _AFTER
        while before is not None:
            page = await store.list(
                ListQuery(
                    owner=None if caller.admin else caller.name,
                    state=state,
                    name_prefix=which.name_prefix,
                    tags=which.tags,
                    page_size=_PAGE,
                    before=before,
                )
            )
            yield [task_of(mark) for mark in page.marks]
            before = page.next_before


def get_service_info(settings: Settings, *, parameters: tuple[str, ...], storage: tuple[str, ...]) -> ServiceInfo:
    """GetServiceInfo."""
    info = settings.info
    return ServiceInfo(
        id=info.id or f"tesk.{socket.gethostname()}",
        name=info.name,
        type=ServiceType(),
        description=info.description or None,
        organization=Organization(name=info.organization, url=info.organization_url),
        contact_url=info.contact_url or None,
        documentation_url=info.documentation_url or None,
        environment=info.environment or None,
        version=__version__,
        storage=storage,
        backend_parameters=parameters,
    )


def _no_task(task_id: str) -> NotFound:
    return NotFound(f"there is no task {task_id[:64]!r}")
