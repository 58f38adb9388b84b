"""`tesk listener`: hear of tasks of any number of TES servers, and tell those who wait, until told to end."""

import argparse
import asyncio
import gc
import os
import resource
import signal
from pathlib import Path

import uvloop
from msgspec.structs import replace

from tesk.cli.loaded import home
from tesk.listener.listener import Listener
from tesk.settings import ListenerSettings
from tesk.settings.load import default_files, load
from tesk.telemetry.logs import write_logs

_FLAGS = ("listener.host", "listener.port", "listener.url", "listener.database", "listener.server", "listener.plain")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the flags that stand for settings."""
    parser.add_argument("--config", metavar="FILE", help="settings file (TOML or JSON) instead of the usual ones")
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", metavar="PORT", help="port to listen on (8010); 0 takes a free one")
    parser.add_argument("--url", metavar="URL", help="under which address TES servers reach it")
    parser.add_argument("--database", metavar="URL", help="postgresql://..., or a path for SQLite")
    parser.add_argument("--server", metavar="URL", help="TES server that is asked for tasks of which nothing comes")
    parser.add_argument(
        "--plain",
        action="store_const",
        const="true",
        help="believe callbacks at /webhook that nobody signed (loopback)",
    )


def run(args: argparse.Namespace) -> int:
    """Listen, and say on stdout where, once connections are accepted."""
    flags = {key: vars(args)[key.rpartition(".")[2]] for key in _FLAGS}
    settings = load(environ=os.environ, config=args.config, flags=flags, files=default_files(home())).settings
    write_logs(settings.log.level, settings.log.format)
    listener = settings.listener
    if not listener.database:
        folder = Path(settings.data_dir).expanduser().absolute()
        listener = replace(listener, database=str(folder / "listener.db"))
    # Thousands wait, each on a connection: as many files as this process may have.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(_listen(listener))
    return 0


async def _listen(settings: ListenerSettings) -> None:
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    async with Listener(settings=settings) as listener:
        # What was made until here lives as long as the listener: looking for cycles in it is in vain.
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        print(f"TESK listener on {listener.base}", flush=True)
        await listener.until(ending)
