"""Tasks in a served store that nothing runs: submitted over HTTP, moved by the test."""

import time

from tesk.store.rows import Move
from tesk.tes.state import State

TASK = {"name": "x", "executors": [{"image": "x", "command": ["true"]}]}


def submit(served, count):
    """Return the ids of so many new tasks."""
    return [served.ask("POST", "/v1/tasks", TASK).json()["id"] for _ in range(count)]


def run(served, tasks, end=State.COMPLETE):
    """Bring tasks from QUEUED through all states to their end."""

    async def acts():
        lease = await served.store.acquire("here", "test", 60)
        for task in tasks:
            assert await served.store.begin(lease, task, time.time())
            for old, new in ((State.INITIALIZING, State.RUNNING), (State.RUNNING, end)):
                move = Move(task_id=task, attempt=1, old=old, new=new, time=time.time())
                assert await served.store.move(lease, move)

    served.run(acts())
