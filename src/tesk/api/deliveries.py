"""What the listener of a task was told: `GET /tesk/v1/tasks/{id}/deliveries`, and `POST ...:redeliver`."""

import time
from urllib.parse import urlsplit

from msgspec import Struct

from tesk.caller import LOCAL
from tesk.errors import NotFound
from tesk.http.exchange import Exchange
from tesk.store.outbox import Delivery, Status, Subscription
from tesk.store.store import Store
from tesk.tes import messages
from tesk.tes.ids import is_id
from tesk.tes.parameters import Given
from tesk.tes.times import rfc3339


class ShownDelivery(Struct, frozen=True, kw_only=True):
    """One move and how far its listener knows of it. `code`, `answer`, `error` are those of the last try."""

    webhook_id: str
    sequence: int
    previous_state: str | None
    state: str
    attempt: int
    time: str
    status: str
    tries: int
    last_try: str | None
    latency_seconds: float | None
    code: int | None
    answer: str
    error: str


class ShownDeliveries(Struct, frozen=True, kw_only=True):
    """All of a task. `next_try` None: nothing waits. `ended`: the listener has said 410, it wants no more."""

    id: str
    callback_url: str
    ended: bool
    next_try: str | None
    deliveries: tuple[ShownDelivery, ...]


class Redelivered(Struct, frozen=True, kw_only=True):
    """How many deliveries are sent again."""

    redelivered: int


class Deliveries:
    """Serves people who ask why their listener has not heard."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def show(self, exchange: Exchange) -> None:
        """Show every delivery of one task, in order."""
        task_id: str = exchange.scope["path_params"]["id"]
        caller = exchange.caller or LOCAL
        found = await self._store.outbox.subscription(task_id, caller) if is_id(task_id) else None
        if found is None:
            raise _no_callback(task_id)
        shown = ShownDeliveries(
            id=task_id,
            callback_url=shown_url(found, caller.name),
            ended=found.ended,
            next_try=None if found.due is None else rfc3339(found.due),
            deliveries=tuple(_shown(task_id, each) for each in found.deliveries),
        )
        await exchange.answer(200, messages.encode(shown))

    async def redeliver(self, exchange: Exchange) -> None:
        """Send again what failed, or with `?sequence=` one delivery, whatever became of it."""
        task_id: str = exchange.scope["path_params"]["id"]
        sequence = _sequence(exchange)
        caller = exchange.caller or LOCAL
        opened = (
            await self._store.outbox.redeliver(task_id, caller, time=time.time(), sequence=sequence)
            if is_id(task_id)
            else None
        )
        if opened is None:
            raise _no_callback(task_id)
        await exchange.answer(200, messages.encode(Redelivered(redelivered=opened)))


def shown_url(found: Subscription, who: str) -> str:
    """Return a callback's URL whole to its task's owner; of others' no more than the host: the rest may be a secret."""
    if who in (found.owner, LOCAL.name):
        return found.url
    parts = urlsplit(found.url)
    return f"{parts.scheme}://{parts.netloc}/..."


def _shown(task_id: str, each: Delivery) -> ShownDelivery:
    return ShownDelivery(
        webhook_id=f"{task_id}.{each.sequence}",
        sequence=each.sequence,
        previous_state=each.previous_state,
        state=each.state,
        attempt=each.attempt,
        time=rfc3339(each.time),
        status=Status(each.status).value,
        tries=each.tries,
        last_try=None if each.tried is None else rfc3339(each.tried),
        latency_seconds=each.latency_seconds,
        code=each.code,
        answer=each.answer,
        error=each.error,
    )


def _sequence(exchange: Exchange) -> int | None:
    given = Given(exchange.scope["query_string"])
    sequence = given.whole("sequence")
    given.refuse()
    return sequence


def _no_callback(task_id: str) -> NotFound:
    return NotFound(f"there is no task {task_id[:64]!r} that has a callback")
