"""Look for what a server must not leave behind: processes, folders, cgroups, holes in event sequences."""

import asyncio
import os
from pathlib import Path

from tesk.store.connect import store_at


def assert_nothing_is_left(folder: Path, database: str, task_ids: set[str]) -> None:
    """Fail unless a server that ended left nothing of these tasks on the machine, and a sound database."""
    assert processes(str(folder)) == []
    # A folder that waits to be removed may stay until the next start; what a task could use must be gone.
    assert [path for path in (folder / "data/local/attempts").iterdir() if path.is_dir()] == []
    assert cgroups(task_ids) == []
    assert asyncio.run(_complaints(database)) == []


def processes(words: str) -> list[str]:
    """Return the command lines of processes other than this one that have `words` in them."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if words in line and int(name) != os.getpid():
            found.append(f"{name}: {line}")
    return found


def cgroups(task_ids: set[str]) -> list[str]:
    """Return the cgroups that are named after one of these tasks."""
    return [
        os.path.join(folder, name)
        for folder, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if any(task_id in name for task_id in task_ids)
    ]


async def _complaints(database: str) -> list[str]:
    store = store_at(database, exclusive=False)
    await store.open()
    try:
        return list(await store.check())
    finally:
        await store.close()
