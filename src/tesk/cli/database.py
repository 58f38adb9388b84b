"""`tesk database`: upgrade, prune, back up or check the database, beside a running server or without one."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from tesk.cli.loaded import add_config_argument, settings_in_force
from tesk.settings import Settings
from tesk.store.connect import store_at
from tesk.store.store import Store

R = TypeVar("R")

DAY_SECONDS = 86_400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take what to do."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs", prog="tesk database")
    upgrade = verbs.add_parser("upgrade", help="migrate to this version; no server may run")
    prune = verbs.add_parser("prune", help="remove ended tasks, and events, that are older than some days")
    prune.add_argument(
        "--tasks-days", type=float, metavar="DAYS", help="tasks that ended before (retention.tasks_days)"
    )
    prune.add_argument("--events-days", type=float, metavar="DAYS", help="events before (retention.events_days)")
    backup = verbs.add_parser("backup", help="write a consistent copy to a file, also while the server runs (SQLite)")
    backup.add_argument("file", metavar="FILE", help="where to; it must not be there yet")
    check = verbs.add_parser("check", help="look for damage and for events that do not fit; 1 where there is any")
    for verb in (upgrade, prune, backup, check):
        add_config_argument(verb)


def run(args: argparse.Namespace) -> int:
    """Do it."""
    settings = settings_in_force(args).settings
    verb: Callable[[argparse.Namespace, Settings], int] = _VERBS[args.verb]
    return verb(args, settings)


def location(settings: Settings) -> str:
    """Return the database: a URL, or the path of the SQLite file."""
    if "://" in settings.database:
        return settings.database
    return str(Path(settings.database or Path(settings.data_dir) / "tesk.db").expanduser())


def _upgrade(_args: argparse.Namespace, settings: Settings) -> int:
    async def nothing(_store: Store) -> None:
        """Opening it migrates."""

    _with_store(settings, nothing, exclusive=True)
    print("the database fits this version")
    return 0


def _prune(args: argparse.Namespace, settings: Settings) -> int:
    now = time.time()
    tasks = settings.retention.tasks_days if args.tasks_days is None else args.tasks_days
    events = settings.retention.events_days if args.events_days is None else args.events_days
    if not tasks and not events and args.tasks_days is None and args.events_days is None:
        print("tesk: the settings keep everything; say how much with --tasks-days or --events-days", file=sys.stderr)
        return 2
    # In the settings 0 is "for ever"; typed, it means all that there is.
    counts = _with_store(
        settings,
        lambda store: store.prune(
            tasks_before=now - tasks * DAY_SECONDS if tasks or args.tasks_days is not None else None,
            events_before=now - events * DAY_SECONDS if events or args.events_days is not None else None,
        ),
    )
    print(f"removed {counts.tasks} tasks and {counts.events} events")
    return 0


def _backup(args: argparse.Namespace, settings: Settings) -> int:
    _with_store(settings, lambda store: store.backup(os.path.abspath(args.file)))
    print(f"wrote {args.file}")
    return 0


def _check(_args: argparse.Namespace, settings: Settings) -> int:
    wrong = _with_store(settings, lambda store: store.check())
    print("\n".join(wrong) if wrong else "nothing is wrong")
    return 1 if wrong else 0


def _with_store(settings: Settings, use: Callable[[Store], Awaitable[R]], *, exclusive: bool = False) -> R:
    async def opened() -> R:
        store = store_at(location(settings), exclusive=exclusive)
        await store.open()
        try:
            return await use(store)
        finally:
            await store.close()

    return asyncio.run(opened())


_VERBS: dict[str, Callable[[argparse.Namespace, Settings], int]] = {
    "upgrade": _upgrade,
    "prune": _prune,
    "backup": _backup,
    "check": _check,
}
