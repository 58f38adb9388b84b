"""New tasks for tests of the store, and short ways to store and end them."""

import asyncio
import time

import msgspec

from tesk.store.rows import Move, NewTask, Results
from tesk.tes.ids import Ids
from tesk.tes.state import State
from tesk.tes.task import Executor, Extension, Task

ids = Ids()
NONE = Extension()


def new_task(owner="local", *, name="", tags=None, extension=NONE, created=None, **more) -> NewTask:
    """Make a valid task that was never stored."""
    now = time.time() if created is None else created
    task = Task(name=name or None, executors=(Executor(image="debian", command=("true",)),), tags=tags)
    return NewTask(
        **{
            "id": ids.make(now),
            "owner": owner,
            "name": name,
            "body": msgspec.json.encode(task),
            "extension": extension,
            "tags": tags or {},
            "cpu_cores": 1.0,
            "ram_bytes": 10**9,
            "disk_bytes": 0,
            "created": now,
            **more,
        }
    )


async def many(store, news):
    """Store tasks, all at the same time."""
    await asyncio.gather(*(store.create(new) for new in news))


async def ended(store, new, state=State.COMPLETE, time=2.0, **results):
    """Take a queued task to its end."""
    lease = await store.acquire("here", "test", 60)
    await store.begin(lease, new.id, 1.0)
    old = State.INITIALIZING
    move = Move(task_id=new.id, attempt=1, old=old, new=state, time=time, results=Results(**results))
    assert await store.move(lease, move)
    await store.release(lease)


async def running(store, lease, **of_task):
    """Make a task that is RUNNING in its first attempt."""
    new = new_task(**of_task)
    await store.create(new)
    claimed = await store.begin(lease, new.id, 1.0)
    move = Move(task_id=new.id, attempt=1, old=State.INITIALIZING, new=State.RUNNING, time=2.0)
    assert await store.move(lease, move)
    return claimed


async def told(store, task_id):
    """The states that were announced of a task, in order."""
    return [event.state for event in await store.events(after=0, limit=1000, task_ids=(task_id,))]
