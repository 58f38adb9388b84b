"""Tell a listener of moves, ours or a bare loop. Arguments: database ("" for the bare loop), URL, `rate` or `pace`, how many.

`rate` prints callbacks per second, of what was signed, heard and is durably so; `pace` makes 1,000 moves a second and prints the
milliseconds within which 99 of 100 had come since they were durable (of the bare loop: since it began to send them).
"""

import asyncio
import base64
import itertools
import sys
import time
from collections.abc import Callable, Coroutine

import aiohttp
import uvloop

from bench import tasks
from tesk.callbacks.message import request
from tesk.callbacks.send import Sender
from tesk.callbacks.subscribe import Subscribe, at_home
from tesk.caller import LOCAL
from tesk.http.target import parse
from tesk.settings import CallbackKey, CallbacksSettings
from tesk.signature import Keys
from tesk.store.connect import store_at
from tesk.store.outbox import Pending
from tesk.store.rows import NewTask
from tesk.store.store import Store
from tesk.telemetry.metrics import Metrics
from tesk.tes.ids import Ids
from tesk.tes.state import State
from tesk.tes.task import Extension

KEY = CallbackKey(secret=f"whsec_{base64.b64encode(b'k' * 32).decode()}")
SETTINGS = at_home(CallbacksSettings(keys=(KEY,)))
LINES = 8
"""Of the bare loop: as many as we open to one host."""
A_SECOND = 1000
BODY = tasks.encode(tasks.bare("true"))


def new(ids: Ids, url: str) -> NewTask:
    now = time.time()
    return NewTask(
        id=ids.make(now),
        owner="local",
        name="task",
        body=BODY,
        extension=Extension(),
        tags={},
        cpu_cores=1.0,
        ram_bytes=10**9,
        disk_bytes=0,
        created=now,
        callback=Subscribe(SETTINGS)(url, LOCAL),
    )


async def _until_told(store: Store) -> None:
    while await store.outbox.lanes(limit=1):  # noqa: ASYNC110  nothing says that all is told
        await asyncio.sleep(0.02)


async def rate(store: Store, url: str, many: int) -> float:
    ids = Ids()
    for _ in range(many // 1000):
        await asyncio.gather(*(store.create(new(ids, url)) for _ in range(1000)))
    begun = time.perf_counter()
    sender = asyncio.create_task(Sender(store.outbox, SETTINGS, Metrics()).run())
    await _until_told(store)
    spent = time.perf_counter() - begun
    sender.cancel()
    await asyncio.gather(sender, return_exceptions=True)
    return many / spent


async def pace(store: Store, url: str, many: int) -> dict[str, float]:
    ids, durable = Ids(), dict[str, float]()
    sender = asyncio.create_task(Sender(store.outbox, SETTINGS, Metrics()).run())

    async def one() -> None:
        task = new(ids, url)
        await store.create(task)
        durable[f"{task.id}.1"] = time.time()

    await _steadily(one, many)
    await _until_told(store)
    sender.cancel()
    await asyncio.gather(sender, return_exceptions=True)
    return durable


async def bare_rate(url: str, many: int) -> float:
    bodies, left = _bodies(many), iter(range(many))
    async with aiohttp.ClientSession() as session:
        begun = time.perf_counter()

        async def some() -> None:
            for number in left:
                await _post(session, url, *bodies[number])

        async with asyncio.TaskGroup() as group:
            for _ in range(LINES):
                group.create_task(some())
        return many / (time.perf_counter() - begun)


async def bare_pace(url: str, many: int) -> dict[str, float]:
    bodies, begun = iter(_bodies(many)), dict[str, float]()
    async with aiohttp.ClientSession() as session:

        async def one() -> None:
            headers, body = next(bodies)
            begun[headers["webhook-id"]] = time.time()
            await _post(session, url, headers, body)

        await _steadily(one, many)
    return begun


async def _post(session: aiohttp.ClientSession, url: str, headers: dict[str, str], body: bytes) -> None:
    async with session.post(url, data=body, headers=headers) as answer:
        await answer.read()


async def _steadily(one: Callable[[], Coroutine[None, None, None]], many: int) -> None:
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            if number == many:
                return
            await asyncio.sleep(max(0.0, begun + number / A_SECOND - time.perf_counter()))
            group.create_task(one())


def _bodies(many: int) -> list[tuple[dict[str, str], bytes]]:
    """The very bodies and headers that we send."""
    ids, keys, target, found = Ids(), Keys([KEY]), parse("http://127.0.0.1:8080/hook"), []
    for _ in range(many):
        now = time.time()
        move = Pending(sequence=1, previous_state=None, state=State.QUEUED, attempt=0, time=now, tries=0)
        whole = request(target, ids.make(now), move, user="local", keys=keys, timestamp=int(now))
        head, _, body = whole.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
        found.append(({name: value for name, value in lines if name not in ("Host", "Content-Length")}, body))
    return found


async def _lateness(url: str, begun: dict[str, float]) -> float:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        heard = await answer.json(content_type=None)
    late = sorted(heard[webhook_id] - moment for webhook_id, moment in begun.items())
    return float(late[len(late) * 99 // 100] * 1e3)


async def main(database: str, url: str, what: str, many: int) -> float:
    if not database:
        return await bare_rate(url, many) if what == "rate" else await _lateness(url, await bare_pace(url, many))
    store = store_at(database, pending_limit=1_000_000)
    await store.open()
    try:
        return await rate(store, url, many) if what == "rate" else await _lateness(url, await pace(store, url, many))
    finally:
        await store.close()


if __name__ == "__main__":
    print(uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))))
