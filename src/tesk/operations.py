"""What can be done with tasks, whoever asks and over whatever wire: create, get, list, cancel, service info."""

import asyncio
import socket

from tesk import __version__
from tesk.caller import Caller
from tesk.compute.plan import gpus_of
from tesk.errors import NotFound
from tesk.settings import DefaultsSettings, Settings
from tesk.store.rendered import Rendered, RenderedPage, RenderedTask
from tesk.store.rows import Callback, Created, ListQuery, NewTask
from tesk.store.store import Store
from tesk.tes.ids import Ids, is_id
from tesk.tes.messages import Organization, ServiceInfo, ServiceType
from tesk.tes.parameters import ListTasks
from tesk.tes.task import Resources
from tesk.tes.validation import Accepted
from tesk.tes.view import View

_NOTHING = Resources()


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
        raise no_task(task_id)
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
        raise no_task(task_id)


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


def no_task(task_id: str) -> NotFound:
    """Return what is answered where the caller sees no such task."""
    return NotFound(f"there is no task {task_id[:64]!r}")
