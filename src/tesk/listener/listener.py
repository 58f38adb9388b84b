"""A listener: a place that hears of tasks, and that a program waits on. Builds the parts and runs their loops."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from types import TracebackType
from typing import Self

from tesk.ages import ages
from tesk.errors import BadDocument, SettingsError, StartError, Unavailable
from tesk.http.serve import Http, authority, listen
from tesk.listener.app import App
from tesk.listener.asking import Asking
from tesk.listener.connect import ledger_at
from tesk.listener.door import TELL, Door, digest, is_loopback, new_token
from tesk.listener.feed import Feed, Sought
from tesk.listener.heard import Unheard, check_id, unheard
from tesk.listener.ledger import SIGNED, Subscription
from tesk.listener.servers import Servers
from tesk.listener.sqlite import MEMORY
from tesk.listener.taking import Taking
from tesk.settings import ListenerSettings
from tesk.tes.state import TERMINAL
from tesk.tes.told import Told

_log = logging.getLogger(__name__)

OWN = "own"
"""The subscription of the program that a listener is part of. It keeps its tasks when the program starts anew."""
_EVERYWHERE = ("0.0.0.0:", "[::]:")
_FOR_EVER = 365 * 86400.0
_PRUNE_SECONDS = 600.0


class Listener:
    """Hears of tasks from TES servers that are told `url` as callback, for as long as it is open.

        async with Listener(server="http://tes.example.org") as listener:
            task_id = await tes.create({..., "callback_url": listener.url})
            told = await listener.ended(task_id)

    `server` and `server_token` say whom to ask for tasks of which nothing came for a while. `database` is a path, or
    `postgresql://...`; without, what is heard lives as long as the program. `settings` has the rest; its port counts
    where it is given, else a free one is taken. Opening raises StartError.
    """

    def __init__(
        self,
        *,
        database: str = MEMORY,
        server: str = "",
        server_token: str = "",
        settings: ListenerSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings or ListenerSettings(port=0)
        self._server = Subscription(id=OWN, server=server, server_token=server_token)
        self._ledger = ledger_at(self._settings.database or database)
        self._clock = clock
        self._door = Door(self._ledger, self._settings, clock)
        self._feed = Feed(self._ledger, self._settings.waiters_limit)
        self._taking = Taking(self._ledger, self._settings.quiet_seconds)
        try:
            self._servers = Servers(
                (server, self._settings.server),
                self._settings.servers,
                # With a token others come in, through a proxy perhaps: this machine's own servers are none of theirs.
                at_home=is_loopback(self._settings.host) and not self._settings.token,
            )
        except BadDocument as error:
            raise SettingsError(f"listener.server: {error}") from error
        self._asking = Asking(self._ledger, self._taking, self._servers, self._settings, clock)
        self._base = ""
        self._token = ""
        self._loops: asyncio.Task[None] | None = None
        self._http: Http | None = None

    async def __aenter__(self) -> Self:
        bound = listen(
            self._settings.host,
            self._settings.port,
            setting="listener.host",
            strangers="" if self._settings.token else "name one in listener.token",
        )
        try:
            await self._ledger.open()
            await self._begin(authority(bound[0]))
        except BaseException as error:
            _close(bound)
            await self._ledger.close()
            if isinstance(error, Unavailable):
                raise StartError(str(error)) from error
            raise
        app = App(
            self._ledger,
            self._door,
            self._feed,
            self._taking,
            self._settings,
            servers=self._servers,
            url=lambda: self._base,
            metrics=self._metrics,
            clock=self._clock,
        )
        self._http = Http(app)
        self._loops = asyncio.create_task(self._run(self._http, bound))
        accepting = asyncio.ensure_future(self._http.accepting.wait())
        await asyncio.wait((self._loops, accepting), return_when=asyncio.FIRST_COMPLETED)
        if self._loops.done():
            accepting.cancel()
            await self._loops
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loops is not None
        assert self._http is not None
        # Who waits is answered before the listener goes.
        self._feed.close()
        self._http.should_exit = True
        await self._loops

    @property
    def base(self) -> str:
        """The address of the listener itself."""
        return self._base

    @property
    def url(self) -> str:
        """The callback URL of this program's tasks. It has a secret in it: who knows it may tell of tasks."""
        return f"{self._base}/webhook/{self._token}"

    async def state(self, task_id: str) -> Told:
        """Return what was told of a task last, whoever told it; UNKNOWN where that is nothing. Raises Unavailable."""
        return await self._ledger.get(task_id, None) or unheard(task_id)

    async def ended(self, task_id: str, *, timeout_seconds: float = _FOR_EVER) -> Told:
        """Return the end of a task, when it has come. Raises Unheard at the timeout or when the listener ends; Unavailable."""
        check_id(task_id)
        await self._expect((task_id,))
        last = await self._feed.next(task_id, None, timeout_seconds)
        if last.state not in TERMINAL:
            raise Unheard(f"nothing was heard of the end of task {task_id}; it is {last.state}")
        return last

    async def ends(self, task_ids: Iterable[str]) -> AsyncGenerator[Told]:
        """Yield the end of each task as it comes; of those that have ended at once. Raises Unheard, Unavailable."""
        left = set(task_ids)
        if not left:
            return
        for task_id in left:
            check_id(task_id)
        await self._expect(left)
        after = await self._ledger.newest()
        for told in await self._ledger.ended(tuple(left), None):
            if told.id in left:
                left.discard(told.id)
                yield told
        with self._feed.joined(Sought(None, frozenset(left), ends_only=True)) as follower:
            async with contextlib.aclosing(self._feed.follow(follower, after)) as pieces:
                while left:
                    piece = await anext(pieces, None)
                    if piece is None:
                        raise Unheard(f"the listener ends, and {len(left)} tasks have not ended")
                    for news in piece if isinstance(piece, list) else ():
                        if news.told.id in left:
                            left.discard(news.told.id)
                            yield news.told

    async def moves(self) -> AsyncGenerator[Told]:
        """Yield everything that is told, from now on, until the listener ends. Raises Unavailable."""
        after = await self._ledger.newest()
        with self._feed.joined(Sought(None)) as follower:
            async with contextlib.aclosing(self._feed.follow(follower, after)) as pieces:
                async for piece in pieces:
                    for news in piece if isinstance(piece, list) else ():
                        yield news.told

    async def until(self, ending: asyncio.Event) -> None:
        """Return when that is set. Raises what has ended the listener by itself."""
        assert self._loops is not None
        told = asyncio.ensure_future(ending.wait())
        await asyncio.wait((self._loops, told), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if self._loops.done():
            await self._loops

    async def _begin(self, authority: str) -> None:
        self._base = self._settings.url.rstrip("/") or f"http://{authority}"
        if not self._settings.url and authority.startswith(_EVERYWHERE):
            _log.warning(
                "Nobody can call %s: say in listener.url under which address TES servers reach this", self._base
            )
        now, asked = self._clock(), self._server
        # Each start has a URL of its own; those that were given to tasks before stay good.
        self._token = new_token()
        await self._ledger.subscribe(asked, ((digest(self._token), TELL),), now)
        signed = Subscription(id=SIGNED, server=self._settings.server, server_token=self._settings.server_token)
        await self._ledger.subscribe(signed, (), now)
        await self._feed.begin()

    async def _expect(self, task_ids: Iterable[str]) -> None:
        """See to it that tasks of which nothing comes at all are asked for."""
        if self._server.server:
            now = self._clock()
            await self._ledger.expect(OWN, tuple(task_ids), now, now + self._settings.quiet_seconds)

    def _metrics(self) -> str:
        lines: list[str] = []
        for each in (self._taking.heard, self._taking.sizes, self._asking.asked):
            lines += [f"# HELP {each.name} {each.says}", f"# TYPE {each.name} {each.kind}", *each.lines()]
        lines += [
            "# HELP tesk_listener_waiters Long polls and streams that are open.",
            "# TYPE tesk_listener_waiters gauge",
        ]
        return "\n".join([*lines, f"tesk_listener_waiters {len(self._feed)}", ""])

    async def _run(self, http: Http, bound: list[socket.socket]) -> None:
        try:
            async with asyncio.TaskGroup() as loops:
                own = [
                    loops.create_task(each)
                    for each in (
                        self._feed.run(),
                        self._feed.beat(self._settings.heartbeat_seconds),
                        self._taking.run(),
                        self._asking.run(),
                        self._prune(),
                    )
                ]
                await http.serve(bound)
                for each in own:
                    each.cancel()
        finally:
            self._feed.close()
            _close(bound)
            await self._ledger.close()

    async def _prune(self) -> None:
        if not self._settings.retention_days:
            return
        now = ages(self._clock)
        while True:
            try:
                await self._ledger.prune(now() - self._settings.retention_days * 86400)
            except Unavailable as error:
                _log.warning("Nothing old can be removed: %s", error)
            await asyncio.sleep(_PRUNE_SECONDS)


def _close(bound: list[socket.socket]) -> None:
    for each in bound:
        each.close()
