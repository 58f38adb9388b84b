"""The sender of callbacks on a real store, and ways to wait for what becomes of deliveries."""

import asyncio
import contextlib
import time

from fakes.databases import opened
from fakes.tasks import new_task
from tesk.callbacks.send import Sender
from tesk.callbacks.subscribe import Subscribe, at_home
from tesk.caller import LOCAL, Caller
from tesk.settings import CallbacksSettings
from tesk.telemetry.metrics import Metrics

QUICK = at_home(
    CallbacksSettings(
        retry_seconds=0.05, retry_most_seconds=0.2, connect_seconds=2, answer_seconds=0.3, whole_seconds=1
    )
)


class Watched:
    """An outbox that says when something was written down. `news` is set then."""

    def __init__(self, outbox):
        self._outbox = outbox
        self.news = asyncio.Event()

    def __getattr__(self, name):
        return getattr(self._outbox, name)

    async def record(self, sent):
        await self._outbox.record(sent)
        self.news.set()

    async def give_up(self, *of, **how):
        told = await self._outbox.give_up(*of, **how)
        self.news.set()
        return told


@contextlib.asynccontextmanager
async def sending(database, settings=QUICK, clock=time.time, bound_seconds=60, rush=None):
    """Yield a store whose outbox is sent."""
    async with asyncio.timeout(bound_seconds), opened(database) as store:
        store.outbox = Watched(store.outbox)
        task = asyncio.create_task(Sender(store.outbox, settings, Metrics(), clock=clock, rush=rush).run())
        try:
            yield store
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task  # what ended it before is the test's


async def subscribe(store, url, settings=QUICK, owner="local", age_seconds=0.0):
    new = new_task(owner, callback=Subscribe(settings)(url, Caller(owner)), created=time.time() - age_seconds)
    await store.create(new)
    return new.id


async def settled(store, task_id):
    """What became of a task's deliveries, once none waits."""
    while True:
        store.outbox.news.clear()
        found = await store.outbox.subscription(task_id, LOCAL)
        if found.due is None:
            return found.deliveries
        await store.outbox.news.wait()
