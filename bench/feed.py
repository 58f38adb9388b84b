"""Feed a store without HTTP. Arguments: database, then `rate` and seconds or `fill` and how many; prints tasks per second.

`rate` goes the way of POST /tasks from the bytes of the body on, from 64 coroutines. `fill` stores small tasks whose
tag `run` has 2,500 tasks a value, four runs under way at a time, from as many coroutines as make it quick. The first one
sleeps: on a server with one core the others wait.
"""

import asyncio
import sys
import time

import uvloop

from bench import tasks
from tesk.caller import LOCAL
from tesk.compute.plan import BACKEND_PARAMETERS
from tesk.operations import create_task
from tesk.settings.tree import DefaultsSettings, LimitsSettings
from tesk.store.connect import store_at
from tesk.store.rows import NewTask
from tesk.tes.ids import Ids
from tesk.tes.task import Extension
from tesk.tes.validation import accept

A_RUN = 2500
AT_ONCE = 4


async def fill(database: str, amount: int) -> float:
    store = store_at(database, pending_limit=1_000_000)
    await store.open()
    ids, left, begun = Ids(), iter(range(amount)), time.perf_counter()
    sleeps, body = tasks.encode(tasks.bare("sleep", "3600")), tasks.encode(tasks.bare("true"))

    async def some() -> None:
        for number in left:
            now = time.time()
            await store.create(
                NewTask(
                    id=ids.make(now),
                    owner="local",
                    name=f"task-{number}",
                    body=body if number else sleeps,
                    extension=Extension(),
                    tags={"run": str(number // (A_RUN * AT_ONCE) * AT_ONCE + number % AT_ONCE), "step": "align"},
                    cpu_cores=1.0,
                    ram_bytes=10**9,
                    disk_bytes=0,
                    created=now,
                )
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(4000):
            group.create_task(some())
    await store.close()
    return amount / (time.perf_counter() - begun)


async def rate(database: str, seconds: int) -> float:
    store = store_at(database)
    await store.open()
    ids, body, defaults, limits = Ids(), tasks.encode(tasks.usual()), DefaultsSettings(), LimitsSettings()
    parameters = frozenset(BACKEND_PARAMETERS)
    stored, begun = 0, time.perf_counter()

    async def one_after_the_other() -> None:
        nonlocal stored
        while time.perf_counter() - begun < seconds:
            accepted = accept(body, parameters=parameters, content_limit_bytes=limits.content_bytes)
            await create_task(store, ids, defaults, LOCAL, accepted, now=time.time())
            stored += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(64):
            group.create_task(one_after_the_other())
    spent = time.perf_counter() - begun
    await store.close()
    return stored / spent


if __name__ == "__main__":
    what = {"fill": fill, "rate": rate}[sys.argv[2]]
    print(uvloop.run(what(sys.argv[1], int(sys.argv[3]))))
