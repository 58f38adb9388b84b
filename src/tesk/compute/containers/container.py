"""One executor's container, from its start (by us, or by a server before us) until its program has ended."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tesk.compute.containers.engine import Engine, Status, words
from tesk.compute.containers.waiting import exit_of, gone, starter
from tesk.compute.machine.processes import Process, open_process, send
from tesk.errors import BackendUnavailable

_AGAIN_SECONDS = 0.1
_LOOK_SECONDS = 0.2

_REFUSED, _CANNOT_EXECUTE, _NOT_FOUND = 125, 126, 127
"""Codes that are the engine's own, or a program's."""
_KILLED = 137
_FIRST_PROCESS = "ERROR (catatonit:"
"""How podman's first process begins what it says of a program that it cannot run."""
_DOCKERS = "[FATAL tini"
"""And docker's."""


_PATIENCE_SECONDS = 2.0
_TRIES = 3
_LOST = "who held its container was killed, so nobody saw its end"


class Ended(Struct, frozen=True, kw_only=True):
    """How it went. `error`: why it could not be run, in the engine's words. Times are seconds since the epoch.

    `refused`: that its program could not be executed is all that the exit code says.
    """

    exit_code: int = 0
    refused: bool = False
    error: str | None = None
    out_of_memory: bool = False
    start_time: float = 0.0
    end_time: float = 0.0


class Execution:
    """The container `name`; `own` is the folder of its own files. One of `start` and `adopt`, and `stop` at any time."""

    def __init__(self, engine: Engine, name: str, own: Path) -> None:
        self.name = name
        self._engine = engine
        self._own = own
        self._over = asyncio.Event()
        self._stopping: set[asyncio.Task[None]] = set()

    async def start(
        self, arguments: list[str], streams: tuple[int, int, int], complaints: Callable[[], bytes]
    ) -> Ended:
        """Run it to its end. `complaints` gives the end of what went to stderr, the engine's own words among it."""
        began = time.time()
        try:
            pid = self._engine.run(arguments, streams, str(self._own))
        except (OSError, ValueError) as error:
            self._over.set()
            return Ended(error=f"{self._engine.path} cannot be started: {error}")
        try:
            code = await self._exit_of(pid)
            return Ended(error=_LOST) if code is None else await self._ended(code, began, complaints)
        finally:
            self._over.set()

    async def adopt(self) -> Ended | None:
        """Wait for the end of what a server before us started; None where it never began, and nothing is left of it."""
        starting = starter(self.name)
        unwatched = False
        try:
            while True:
                status = await self._status()
                if status is not None and status.ended:
                    return self._told(status)
                fd = open_process(starting) if starting is not None and not (status and status.monitor) else None
                if status is not None and status.began:
                    held = await self._wait(fd, status)
                    if unwatched and not held:
                        await self._lose(starting)
                        return Ended(error=_LOST)
                    unwatched = not held
                elif fd is not None:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(gone(fd), _LOOK_SECONDS)
                else:
                    if status is not None:
                        await self._engine.remove([self.name])
                    return None
        finally:
            self._over.set()

    def stop(self, grace_seconds: float) -> None:
        """Ask the program to end: TERM, the grace, KILL. At once where there is no grace."""
        task = asyncio.create_task(self._stop(grace_seconds))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _stop(self, grace_seconds: float) -> None:
        if grace_seconds > 0:
            until = time.monotonic() + grace_seconds
            await self._signal("TERM")
            await self._over_within(until - time.monotonic())
        await self._signal("KILL")

    async def _signal(self, name: str) -> None:
        # It may be about to start: then there is nothing yet that hears. An engine that does not answer may do so later.
        while not self._over.is_set():
            with contextlib.suppress(BackendUnavailable):
                if await self._engine.signal(self.name, name):
                    return
            await self._over_within(_AGAIN_SECONDS)

    async def _status(self) -> Status | None:
        """Look at the container, as soon as the engine answers: until then nobody knows that nothing runs."""
        while True:
            with contextlib.suppress(BackendUnavailable):
                return await self._engine.status(self.name)
            await asyncio.sleep(_PATIENCE_SECONDS)

    async def _over_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), max(0.0, seconds))

    async def _wait(self, client: int | None, status: Status) -> bool:
        """Wait for what ends with the container: who holds it, or who started it. Say whether there was one."""
        held = True
        if status.monitor:
            client = _open(status.monitor)
            held = client is not None
        if client is not None:
            await gone(client)
        elif held:
            with contextlib.suppress(BackendUnavailable):
                await self._engine.wait(self.name)
        # The engine writes down what it saw a moment later.
        await asyncio.sleep(_LOOK_SECONDS)
        return held

    async def _exit_of(self, pid: int) -> int | None:
        """Wait for the end of the engine's process; None where who held the container was killed, which it never notices."""
        client = asyncio.ensure_future(exit_of(pid))
        try:
            if self._engine.facts.kind == "podman" and await self._outlived(client):
                await self._lose(None)
                if not client.done():
                    os.kill(pid, signal.SIGKILL)
                await client
                return None
            return await client
        finally:
            client.cancel()

    async def _outlived(self, client: asyncio.Future[int]) -> bool:
        """Return when the engine's process has ended, or with True when it will not, since who held the container is gone."""
        while not (await asyncio.wait([client], timeout=_PATIENCE_SECONDS))[0]:
            held = None
            with contextlib.suppress(FileNotFoundError, ValueError):
                held = _open(int((self._own / "conmon").read_text()))
            if held is not None:
                watching = asyncio.ensure_future(gone(held))
                ends: list[asyncio.Future[Any]] = [client, watching]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                watching.cancel()
                continue  # the engine says soon what it saw
            status = await self._status()
            if status is not None and status.began and not status.ended and _gone(status.monitor):
                return True
        return False

    async def _lose(self, client: Process | None) -> None:
        """End a container that nobody holds any more, and who waits for it in vain."""
        for _ in range(_TRIES):
            with contextlib.suppress(BackendUnavailable):
                await self._engine.signal(self.name, "KILL")
                await self._engine.remove([self.name])  # podman does it only when asked again
                break
        if client is not None:
            send(client, signal.SIGKILL)

    async def _ended(self, code: int, began: float, complaints: Callable[[], bytes]) -> Ended:
        """Find out what the end of the engine's process means."""
        ended = Ended(exit_code=code, start_time=self._start_time(began), end_time=time.time())
        unsure = code in {_REFUSED, _CANNOT_EXECUTE, _NOT_FOUND} or (code == _KILLED and not self._ran_out())
        if code < 0 or unsure:
            status = await self._status()
            if status is not None and status.began and not status.ended:
                # Somebody ended the engine's process, not the container.
                return await self.adopt() or ended
            if status is not None and status.ended:
                by_init = complaints().decode(errors="replace").strip().rpartition("\n")[2].startswith(_DOCKERS)
                return replace(self._told(status), refused=by_init and code in {_CANNOT_EXECUTE, _NOT_FOUND})
            if code < 0:
                return Ended(error=f"{self._engine.path} was ended by somebody")
            if code == _REFUSED or self._engine.facts.init:
                return Ended(error=words(complaints().decode(errors="replace")))
            if code in {_CANNOT_EXECUTE, _NOT_FOUND}:  # it never began: the engine has said so
                return replace(ended, refused=True)
        if code == 1 and (said := words(complaints().decode(errors="replace"))).startswith(_FIRST_PROCESS):
            code = _NOT_FOUND if said.endswith(os.strerror(2)) else _CANNOT_EXECUTE
            return replace(ended, exit_code=code, refused=True)
        return replace(ended, out_of_memory=code == _KILLED and self._ran_out())

    def _told(self, status: Status) -> Ended:
        if not status.end_time:  # the engine itself began anew meanwhile, and takes all that ran for ended
            return Ended(error=_LOST)
        ran_out = status.exit_code == _KILLED and (status.out_of_memory or self._ran_out())
        return Ended(
            exit_code=status.exit_code, out_of_memory=ran_out, start_time=status.start_time, end_time=status.end_time
        )

    def _ran_out(self) -> bool:
        """Say whether who holds the container saw the kernel kill something in it for want of memory."""
        return (self._own / "oom").exists()

    def _start_time(self, began: float) -> float:
        """When the program began: the engine takes its time before."""
        with contextlib.suppress(FileNotFoundError):
            return max(began, (self._own / "pid").stat().st_mtime)
        return began


def _open(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.pidfd_open(pid)
    return None


def _gone(pid: int) -> bool:
    fd = _open(pid) if pid else None
    if fd is not None:
        os.close(fd)
    return fd is None
