"""What is TESK's own, below `/tesk/v1`: the rest of a task, and what this server can do."""

import asyncio

from msgspec import Struct

from tesk import __version__, operations
from tesk.api.deliveries import shown_url
from tesk.api.events import TASK_EVENTS_MOST, TaskEvent, shown
from tesk.api.live import Live
from tesk.caller import LOCAL
from tesk.compute.backend import AttemptId
from tesk.errors import BackendUnavailable
from tesk.http.exchange import Exchange
from tesk.settings import Settings
from tesk.signature import Keys
from tesk.store.rows import StoredTask
from tesk.store.store import Store
from tesk.tes import messages, parameters
from tesk.tes.following import TASKS_MOST
from tesk.tes.state import State
from tesk.tes.times import rfc3339
from tesk.tes.view import View
from tesk.transfer import Direction, Progress

_PROGRESS_SECONDS = 5.0
_ACTIVE = frozenset({State.INITIALIZING, State.RUNNING})


class Transfer(Struct, frozen=True, kw_only=True):
    """How far the data is that moves now. `size_bytes` None: a source has not said the size of its file.

    `trouble`: what went wrong a moment ago and is tried again.
    """

    direction: Direction
    files: int
    files_done: int
    size_bytes: int | None
    size_bytes_done: int
    bytes_per_second: float
    seconds: float
    trouble: str | None


class TaskDetails(Struct, frozen=True, kw_only=True):
    """What TESK knows of a task beside its TES body. Resources are those that count, with the defaults of the day when it came.

    `callback_url` is whole for the task's owner alone. `transfer` None: none of its data moves now, or another server of the
    same database moves it. `waiting`: why it does not run yet ("0/3 nodes are available: insufficient memory"), where
    something holds it up.
    """

    id: str
    state: str
    owner: str
    creation_time: str
    cpu_cores: float
    ram_gb: float
    disk_gb: float
    warnings: tuple[str, ...]
    events: tuple[TaskEvent, ...]
    callback_url: str | None
    transfer: Transfer | None
    waiting: str | None


class Limits(Struct, frozen=True, kw_only=True):
    """How much one request may ask for."""

    body_bytes: int
    content_bytes: int
    page_size: int
    wait_seconds: float
    batch_tasks: int
    batch_body_bytes: int
    stream_tasks: int


class Abilities(Struct, frozen=True, kw_only=True):
    """What this server can do beyond TES.

    `callback_signatures`: the kinds of Standard Webhooks (`v1`, `v1a`) that there are keys for; a listener verifies those of
    `v1a` with one of the public keys.
    """

    name: str
    version: str
    backend: str
    backend_parameters: tuple[str, ...]
    authentication: tuple[str, ...]
    callbacks: bool
    events: bool
    callback_signatures: tuple[str, ...]
    callback_public_keys: tuple[str, ...]
    idempotency_key: bool
    wait: bool
    logs: bool
    batch: bool
    cancel_by_filter: bool
    limits: Limits


class Extensions:
    """Serves what clients of TESK ask; clients of TES never see it."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        parameters_: tuple[str, ...],
        backend: str,
        live: Live | None,
        callbacks: bool,
    ) -> None:
        self._store = store
        self._live = live
        self._attempts = settings.limits.attempts
        auth, server = settings.auth, settings.server
        tells = callbacks and settings.callbacks.enabled
        keys = Keys(settings.callbacks.keys if tells else ())
        self._abilities = messages.encode(
            Abilities(
                name="tesk",
                version=__version__,
                backend=backend,
                backend_parameters=parameters_,
                authentication=("basic",) * bool(auth.users) + ("bearer",) * auth.by_token,
                callbacks=tells,
                events=True,
                callback_signatures=keys.kinds,
                callback_public_keys=keys.public,
                idempotency_key=True,
                wait=True,
                logs=True,
                batch=True,
                cancel_by_filter=True,
                limits=Limits(
                    body_bytes=server.body_limit_bytes,
                    content_bytes=settings.limits.content_bytes,
                    page_size=parameters.PAGE_SIZE_MOST,
                    wait_seconds=server.wait_limit_seconds,
                    batch_tasks=settings.limits.batch_tasks,
                    batch_body_bytes=server.batch_body_limit_bytes,
                    stream_tasks=TASKS_MOST,
                ),
            )
        )

    async def service_info(self, exchange: Exchange) -> None:
        """Say what the server can do."""
        await exchange.answer(200, self._abilities)

    async def task(self, exchange: Exchange) -> None:
        """Show the rest of one task, with its events."""
        task_id: str = exchange.scope["path_params"]["id"]
        caller = exchange.caller or LOCAL
        task = await operations.find_task(self._store, caller, task_id, View.FULL)
        events = await self._store.events(after=0, limit=TASK_EVENTS_MOST, task_ids=(task_id,))
        told = await self._store.outbox.subscription(task_id, caller)
        details = TaskDetails(
            id=task.id,
            state=task.state,
            owner=task.owner,
            creation_time=rfc3339(task.created),
            cpu_cores=task.cpu_cores,
            ram_gb=task.ram_bytes / 1e9,
            disk_gb=task.disk_bytes / 1e9,
            warnings=task.extension.warnings,
            events=tuple(map(shown, events)),
            callback_url=None if told is None else shown_url(told, caller.name),
            transfer=_transfer(await self._progress(task)),
            waiting=self._waiting(task),
        )
        await exchange.answer(200, messages.encode(details))

    async def _progress(self, task: StoredTask) -> Progress | None:
        if self._live is None or task.state not in _ACTIVE or not task.attempts:
            return None
        try:
            async with asyncio.timeout(_PROGRESS_SECONDS):
                return await self._live.progress(AttemptId(task.id, task.attempts[-1].number))
        except (BackendUnavailable, TimeoutError):
            return None

    def _waiting(self, task: StoredTask) -> str | None:
        if self._live is None or task.state is not State.INITIALIZING or not task.attempts:
            return None
        number = task.attempts[-1].number
        why = self._live.waiting(AttemptId(task.id, number))
        # Those lost to our own stops and crashes do not count, so there may be more.
        of = f" of {self._attempts}" * (number <= self._attempts)
        return f"attempt {number}{of}: {why}" if why and number > 1 else why


def _transfer(moving: Progress | None) -> Transfer | None:
    if moving is None:
        return None
    return Transfer(
        direction=moving.direction,
        files=moving.files,
        files_done=moving.files_done,
        size_bytes=moving.size_bytes,
        size_bytes_done=moving.size_bytes_done,
        bytes_per_second=moving.bytes_per_second,
        seconds=moving.seconds,
        trouble=moving.trouble,
    )
