"""New tasks for tests of the store."""

import time

import msgspec

from tesk.store.rows import NewTask
from tesk.tes.ids import Ids
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
