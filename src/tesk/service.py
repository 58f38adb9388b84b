"""The one place that builds: from settings to store, backend, stager, loops and the HTTP app."""

import asyncio
import contextlib
import fcntl
import gc
import importlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import uvloop
from msgspec.structs import replace

from tesk.api.app import create_app
from tesk.api.create import Check
from tesk.callbacks.send import Sender
from tesk.callbacks.subscribe import Subscribe, at_home
from tesk.compute.backend import Backend
from tesk.compute.containers.backend import ContainersBackend
from tesk.compute.local.backend import LocalBackend
from tesk.compute.plan import BACKEND_PARAMETERS, GPU_COUNT
from tesk.controller.run import Controller
from tesk.errors import StartError
from tesk.http.serve import Http, authority, is_loopback, listen
from tesk.settings import Settings, StorageSettings
from tesk.stager.host import HostStager
from tesk.storage.needed import elsewhere
from tesk.storage.schemes import in_force, refusal, told
from tesk.store.connect import store_at
from tesk.telemetry.logs import write_logs
from tesk.telemetry.metrics import Metrics
from tesk.telemetry.rush import Rush
from tesk.tools import Tools
from tesk.transfer import Stager

_log = logging.getLogger(__name__)

BASE_PATH = "/ga4gh/tes/v1"
_LEAVE_SECONDS = 10.0
"""How long the end of stopped attempts is waited for, beyond their grace."""


def serve(settings: Settings, announce: Callable[[str], None], own: Sequence[Path] = ()) -> None:
    """Serve until told to end. `announce` gets the base URL once connections are accepted. Raises StartError.

    `own` are files of ours, beside the usual ones, that tasks must never touch: settings, secrets.
    """
    gc.disable()  # until all is built: what is made at the start lives as long as the server
    write_logs(settings.log.level, settings.log.format)
    folder = Path(settings.data_dir).expanduser().absolute()
    with _data_folder(folder), contextlib.ExitStack() as bound:
        open_to_all = settings.auth.required or settings.server.insecure
        sockets = listen(
            settings.server.host,
            settings.server.port,
            setting="server.host",
            strangers="" if open_to_all else "name users or tokens in the settings, or say --insecure",
        )
        for each in sockets:
            bound.enter_context(each)
        uvloop.run(_serve(_in_force(settings, folder, sockets, own), folder, sockets, announce))


def _in_force(settings: Settings, folder: Path, sockets: list[socket.socket], own: Sequence[Path]) -> Settings:
    """Fill in what only the running server knows: its port, what tasks may use by default."""
    addresses = [each.getsockname() for each in sockets]
    home = Path.home()
    storage = in_force(
        settings.storage,
        # With users or tokens others come in, through a proxy perhaps: the home of the server's user is none of theirs.
        personal=not settings.auth.required and all(is_loopback(address[0]) for address in addresses),
        home=str(home),
        current=os.getcwd(),
        own=(str(folder), str(home / ".config/tesk"), "/etc/tesk", *map(str, own), *_files_of(settings.database)),
    )
    server = replace(settings.server, port=addresses[0][1])
    callbacks = settings.callbacks
    if all(is_loopback(address[0]) for address in addresses):
        callbacks = at_home(callbacks)
    return replace(settings, server=server, storage=storage, callbacks=callbacks)


def _files_of(database: str) -> list[str]:
    """Where a SQLite database keeps what it has, by the file's own place, whatever links lead there."""
    if not database or "://" in database:
        return []
    path = str(Path(database).expanduser().resolve())
    return [path, f"{path}-wal", f"{path}-shm", f"{path}-journal", f"{path}.lock"]


async def _serve(
    settings: Settings, folder: Path, sockets: list[socket.socket], announce: Callable[[str], None]
) -> None:
    """Build, serve, and end as we are told to."""
    end = _End()
    async with contextlib.AsyncExitStack() as built:
        metrics = Metrics()
        store = store_at(
            settings.database or str(folder / "tesk.db"),
            pending_limit=settings.server.pending_limit,
            committed=metrics.committed,
        )
        await store.open()
        built.push_async_callback(store.close)
        stager = HostStager(settings.storage)
        built.callback(stager.close)
        tools = Tools(settings.storage)
        built.callback(tools.close)
        place = _place(settings, folder, stager, tools)
        backend = place.backend
        await backend.open()
        built.push_async_callback(backend.close)
        controller = Controller(
            store,
            backend,
            settings,
            name=socket.gethostname(),
            metrics=metrics,
            refusal=partial(refusal, place.storage),
        )
        rush = Rush()
        sender = Sender(store.outbox, settings.callbacks, metrics, rush=rush)
        closing = asyncio.Event()
        app = create_app(
            store,
            settings,
            alive=controller.alive if settings.controller.enabled else _always,
            parameters=place.parameters,
            check=place.check,
            backend=backend.name,
            public_storage=told(place.storage),
            live=backend,
            metrics=metrics,
            closing=closing,
            subscribe=Subscribe(settings.callbacks),
            rush=rush,
        )
        http = Http(app)
        async with asyncio.TaskGroup() as loops:
            moving = loops.create_task(controller.run()) if settings.controller.enabled else None
            telling = loops.create_task(sender.run()) if settings.callbacks.enabled else None
            loops.create_task(http.serve(sockets))
            await http.accepting.wait()
            announce(f"http://{authority(sockets[0])}{BASE_PATH}")
            _tune()
            await _wind_down(controller, settings, end, outlived=settings.backend != "local")
            # Who waits for a task is answered before the server goes.
            closing.set()
            http.should_exit = True
            for each in (moving, telling):
                if each is not None:
                    each.cancel()


def _always() -> bool:
    return True


class _Place(NamedTuple):
    """Where tasks run: what they may ask of it, what it cannot do of a task, the storage settings of its stagers."""

    backend: Backend
    parameters: Sequence[str]
    storage: StorageSettings
    check: Check | None = None


def _place(settings: Settings, folder: Path, stager: Stager, tools: Tools) -> _Place:
    match settings.backend:
        case "kubernetes":
            # It needs a package that is not everybody's.
            kubernetes = importlib.import_module("tesk.compute.kubernetes.built").build(settings, tools.image)
            return _Place(kubernetes.backend, kubernetes.parameters, elsewhere(settings.storage), kubernetes.check)
        case "containers":
            containers = ContainersBackend(settings.containers, folder / "containers", stager, tools.image)
            # GPUs of none are no parameter: it is dropped with a warning, or refused.
            gpus = {GPU_COUNT} if settings.containers.gpus else set()
            return _Place(containers, sorted(BACKEND_PARAMETERS | gpus), settings.storage)
        case "local":
            local = LocalBackend(settings.local, folder / "local", stager)
            return _Place(local, sorted(BACKEND_PARAMETERS), settings.storage)


def _tune() -> None:
    """Set the interpreter up for many small requests.

    Cycles are looked for more seldom, and not in what lives as long as the server: under a load of submissions a third of
    the time went into looking through requests that were under way.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 50)


class _End:
    """What signals have asked for: the first TERM an orderly end, a second one or Ctrl-C an end at once."""

    def __init__(self) -> None:
        self.orderly = asyncio.Event()
        self.at_once = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._term)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)

    def _term(self) -> None:
        if self.orderly.is_set():
            self.at_once.set()
        self.orderly.set()

    def _interrupt(self) -> None:
        self.at_once.set()
        self.orderly.set()

    async def unless_at_once(self, idle: Coroutine[None, None, None], seconds: float) -> None:
        """Wait for `idle`, no longer than to the end at once or for so many seconds."""
        waits = [asyncio.ensure_future(idle), asyncio.ensure_future(self.at_once.wait())]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _wind_down(controller: Controller, settings: Settings, end: _End, *, outlived: bool) -> None:
    """Wait for a signal; then let what runs finish, then stop it and queue it again.

    `outlived`: what runs goes on without this server, and the next one takes it over; but a person's Ctrl-C ends all.
    """
    await end.orderly.wait()
    controller.drain()
    if outlived and not end.at_once.is_set():
        _log.info("Told to end: what runs goes on, and the next server takes it over")
        return
    grace = settings.shutdown.grace
    if not end.at_once.is_set():
        _log.info("Told to end: nothing new starts, and what runs has %g s to finish", grace)
        await end.unless_at_once(controller.idle(), grace)
    if not end.at_once.is_set():
        controller.stop_all(settings.grace_seconds)
        await end.unless_at_once(controller.idle(), settings.grace_seconds + _LEAVE_SECONDS)
    controller.stop_all(0.0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LEAVE_SECONDS):
            await controller.idle()


@contextlib.contextmanager
def _data_folder(folder: Path) -> Generator[None]:
    """Make the data folder, for this user alone, and lock it for this server alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"{folder} cannot be used as data folder: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise StartError(
            f"Another server uses {folder}, or has been told to end and does not yet: wait for it, or give this one a folder "
            "of its own with --data-dir"
        ) from error
    finally:
        os.close(lock)
