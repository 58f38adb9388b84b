"""A cancel that comes while the controller waits for an answer about the very task: it is acted on at once, not by the sweep."""

import asyncio
import time

from fakes.scripted import ScriptedBackend
from fakes.world import play
from tesk.caller import LOCAL
from tesk.errors import Unavailable
from tesk.store.sqlite.store import SqliteStore


class SlowToAnswer(SqliteStore):
    """Answers one question about a task only when the task was canceled meanwhile and the controller has heard of it."""

    def __init__(self, path):
        super().__init__(path)
        self.told = asyncio.Event()

    async def canceled_meanwhile(self, task_id):
        assert await self.cancel(task_id, LOCAL, time.time()) == "CANCELING"
        await self.told.wait()

    async def canceling(self, lease):
        found = await super().canceling(lease)
        if found:
            self.told.set()
        return found


class SlowToBegin(SlowToAnswer):
    async def begin(self, lease, task_id, time):
        claimed = await super().begin(lease, task_id, time)
        await self.canceled_meanwhile(task_id)
        return claimed


class SlowToRead(SlowToAnswer):
    """Loses its connection after the first move, so that the task is read again."""

    async def move(self, lease, move):
        moved = await super().move(lease, move)
        if not self.told.is_set():
            raise Unavailable("the connection broke")
        return moved

    async def claimed(self, lease, task_ids=None):
        rows = await super().claimed(lease, task_ids)
        if task_ids and not self.told.is_set():
            await self.canceled_meanwhile(task_ids[0])
        return rows


async def submit_and_wait(world):
    task = await world.submit()
    return await world.until(task)


def test_a_task_that_is_canceled_while_it_begins_is_never_started(tmp_path):
    backend = ScriptedBackend()
    assert play(tmp_path, backend, submit_and_wait, make_store=SlowToBegin) == "CANCELED"
    assert not backend.began


def test_a_task_that_is_canceled_while_it_is_read_again_is_stopped(tmp_path):
    backend = ScriptedBackend(script=("RUNNING",))
    assert play(tmp_path, backend, submit_and_wait, make_store=SlowToRead) == "CANCELED"
    assert len(backend.stopped) == 1
