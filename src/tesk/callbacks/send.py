"""Send what the outbox holds: fairly by lane, in order by task, as much at once as a host takes well."""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from tesk.ages import ages
from tesk.callbacks.call import Calls
from tesk.callbacks.host import Host
from tesk.callbacks.verdict import judge
from tesk.errors import Unavailable
from tesk.settings import CallbacksSettings
from tesk.store.outbox import FARTHEST_SECONDS, Outbox, Outgoing, Sent, Status, Try, origin_of, owner_of
from tesk.telemetry.metrics import Metrics
from tesk.telemetry.rush import Rush

_log = logging.getLogger(__name__)

_LANES = 1000
_LOOK_SECONDS = 0.002
_BUSY_SECONDS = 0.005
"""No two looks are nearer, while there is something to send: what comes meanwhile is found by the same one."""
_MANY = 16
"""So many submissions under way at once are a rush: they go first."""
_RUSH_SECONDS = 0.05
_RUSH_CALLS = 3
"""In so long, and as many for each second that something waits: 60 a second at first, thousands after a minute."""
_IDLE_SECONDS = 30.0
_HOLD_SECONDS = 120.0
_FRESH_SECONDS = 60.0
"""What was taken longer ago is given back, lest another server has it already when it is sent."""
_RECORDED_AT_ONCE = 128
_GIVEN_UP_AT_ONCE = 1000
_GIVE_UP_SECONDS = 60.0
_AGAIN_SECONDS = 2.0
_RECLAIM_SECONDS = 3.0
_SHOWN = 512


class Sender:
    """Sends until canceled. What is on its way then is given back, and sent again by whoever comes next.

    What is taken for a host waits in its queue until the host, the task's user and all together have a connection to spare,
    so whoever is slow or silent holds up what is his.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: CallbacksSettings,
        metrics: Metrics,
        *,
        rush: Rush | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._age_clock = ages(clock)
        self._calls = Calls(settings, clock)
        self._rush = rush or Rush()
        self._left = math.inf
        """Calls that may be begun until the next look."""
        self._late = 0.0
        """For how many seconds something waits that could be sent."""
        self._hosts: dict[str, Host] = {}
        self._users: Counter[str] = Counter()
        self._sending: set[asyncio.Task[None]] = set()
        self._sent: list[Sent] = []
        self._recorded = asyncio.Event()
        self._freed = asyncio.Event()

    async def run(self) -> None:
        """Send for ever."""
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._look())
                loops.create_task(self._record())
                loops.create_task(self._give_up())
                loops.create_task(self._reclaim())
        finally:
            for each in self._sending:
                each.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)
            for host in self._hosts.values():
                for out, _ in host.queue:
                    self._write_down(out, (), 0.0)
                host.close()
            self._calls.close()
            # Whoever comes next need not wait until our claims are over.
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(_AGAIN_SECONDS):
                    await self._outbox.record(self._sent)

    # -- take ------------------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._freed.clear()
            try:
                following = await self._take_all()
            except Unavailable as gone:
                _log.warning("Callbacks wait for the database: %s", gone)
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            if self._rush.most() >= _MANY:
                self._left = _RUSH_CALLS * (1 + self._late)
                self._start_all()
                await asyncio.sleep(_RUSH_SECONDS)
                continue
            self._left = math.inf
            busy = any(host.queue for host in self._hosts.values())
            await asyncio.sleep(_BUSY_SECONDS if busy else _LOOK_SECONDS)
            self._start_all()
            for name in [name for name, host in self._hosts.items() if host.close_idle(loop.time())]:
                del self._hosts[name]
            seconds = max(0.0, min(_IDLE_SECONDS, following - loop.time()))
            woken = [loop.create_task(self._outbox.wait(seconds)), loop.create_task(self._freed.wait())]
            await asyncio.wait(woken, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for each in woken:
                each.cancel()
            await asyncio.gather(*woken, return_exceptions=True)

    async def _take_all(self) -> float:
        """Take what may be sent now; return when, by the loop's clock, to look again if nothing happens before."""
        loop, now = asyncio.get_running_loop(), self._clock()
        following, after = loop.time() + _IDLE_SECONDS, ""
        by_host: dict[str, list[str]] = {}
        oldest: dict[str, float] = {}
        self._late, more = 0.0, True
        while more:
            page = await self._outbox.lanes(limit=_LANES, after=after)
            for one in page:
                after = one.lane
                if one.due <= now or one.due > now + FARTHEST_SECONDS:
                    origin = origin_of(one.lane)
                    by_host.setdefault(origin, []).append(one.lane)
                    oldest[origin] = min(oldest.get(origin, now), one.due)
                else:
                    following = min(following, loop.time() + one.due - now)
            more = len(page) == _LANES
        for origin, lanes in by_host.items():
            host = self._hosts.setdefault(origin, Host())
            if host.until > loop.time():
                following = min(following, host.until)
                continue
            if not host.is_open:
                self._late = max(self._late, now - oldest[origin])
            if (room := host.room) > 0:
                random.shuffle(lanes)
                await self._take(host, lanes[:room], max(1, room // len(lanes)))
        return following

    async def _reclaim(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                await self._outbox.reclaim(now=self._clock())
            await asyncio.sleep(_RECLAIM_SECONDS)

    async def _take(self, host: Host, lanes: list[str], each: int) -> None:
        moment = asyncio.get_running_loop().time()
        for out in await self._outbox.take(lanes, now=self._clock(), each=each, hold_seconds=_HOLD_SECONDS):
            host.queue.append((out, moment))
        self._start(host)

    def _start(self, host: Host) -> None:
        """Send what is queued for a host, as far as there are connections to spare."""
        loop, settings = asyncio.get_running_loop(), self._settings
        for _ in range(len(host.queue)):
            full = host.active >= settings.connections_per_host or len(self._sending) >= settings.connections
            if full or self._left < 1:
                return
            out, taken = host.queue.popleft()
            owner = owner_of(out.lane)
            if host.until > loop.time() or loop.time() - taken > _FRESH_SECONDS:
                self._write_down(out, (), max(0.0, host.until - loop.time()))
            elif self._users[owner] >= settings.connections_per_user:
                host.queue.append((out, taken))
            else:
                self._left -= 1
                host.active += 1
                self._users[owner] += 1
                task = loop.create_task(self._tell(host, out))
                self._sending.add(task)
                task.add_done_callback(partial(self._told, host, owner))

    def _told(self, host: Host, owner: str, task: asyncio.Task[None]) -> None:
        crowded = (
            len(self._sending) >= self._settings.connections
            or self._users[owner] >= self._settings.connections_per_user
        )
        self._sending.discard(task)
        host.active -= 1
        self._users[owner] -= 1
        if not self._users[owner]:
            del self._users[owner]
        if task.cancelled():
            return
        if (bug := task.exception()) is not None:
            _log.error("A callback could not be sent for a fault of ours", exc_info=bug)
        # A place that all, or the user, had too few of is for whoever waits; else the next of the host's own.
        if crowded:
            self._start_all()
        else:
            self._start(host)
        self._freed.set()

    def _start_all(self) -> None:
        waiting = [host for host in self._hosts.values() if host.queue]
        random.shuffle(waiting)
        for host in waiting:
            self._start(host)

    # -- send --------------------------------------------------------------------------------------------------------------------

    async def _tell(self, host: Host, out: Outgoing) -> None:
        """Send a task's moves in order, up to the first that its listener does not take."""
        loop = asyncio.get_running_loop()
        began_all, tries, wait = loop.time(), list[Try](), 0.0
        for move in out.moves:
            began, moment = loop.time(), self._clock()
            if began - began_all > _FRESH_SECONDS or host.until > began:
                break
            try:
                answer, error = await self._calls.post(host, out, move)
            except asyncio.CancelledError:
                self._write_down(out, tuple(tries), 0.0)
                raise
            verdict = judge(answer, move, now=self._age_clock(), settings=self._settings, chance=random.random())
            host.note(verdict, loop.time())
            latency = loop.time() - began
            self._metrics.called(verdict.status.value, latency)
            tries.append(
                Try(
                    sequence=move.sequence,
                    status=verdict.status,
                    time=moment,
                    latency_seconds=latency,
                    code=None if answer is None else answer.code,
                    answer="" if answer is None else _shown(answer.body),
                    error=error,
                )
            )
            if verdict.status in (Status.PENDING, Status.ENDED):
                wait = verdict.wait_seconds
                break
        self._write_down(out, tuple(tries), max(wait, host.until - loop.time()))

    # -- give up -----------------------------------------------------------------------------------------------------------------

    async def _give_up(self) -> None:
        """Let fail what has waited too long for hosts that get probes alone; whatever else waits has its own last try."""
        seconds = min(_GIVE_UP_SECONDS, max(0.1, self._settings.give_up_seconds / 100))
        while True:
            await asyncio.sleep(seconds)
            for origin in [origin for origin, host in self._hosts.items() if host.is_open]:
                try:
                    await self._give_up_of(origin, self._hosts[origin])
                except Unavailable as gone:
                    _log.warning("Callbacks that have waited too long cannot be given up yet: %s", gone)

    async def _give_up_of(self, origin: str, host: Host) -> None:
        many, given_up = 0, 1
        while given_up:
            given_up, host.looked_up_to = await self._outbox.give_up(
                origin,
                now=self._clock(),
                before=self._age_clock() - self._settings.give_up_seconds,
                limit=_GIVEN_UP_AT_ONCE,
                after=host.looked_up_to,
            )
            many += given_up
        if many:
            _log.warning("%d callbacks for %s have failed: nobody has answered there for too long", many, origin)

    # -- write down ----------------------------------------------------------------------------------------------------------------

    def _write_down(self, out: Outgoing, tries: tuple[Try, ...], wait_seconds: float) -> None:
        due = self._clock() + wait_seconds
        self._sent.append(Sent(task_id=out.task_id, claim=out.claim, tries=tries, due=due))
        self._recorded.set()

    async def _record(self) -> None:
        while True:
            await self._recorded.wait()
            self._recorded.clear()
            while self._sent:
                # Canceled meanwhile, nobody knows whether they were; twice is never right.
                batch, self._sent = self._sent[:_RECORDED_AT_ONCE], self._sent[_RECORDED_AT_ONCE:]
                try:
                    await self._outbox.record(batch)
                except Unavailable as gone:
                    self._sent = batch + self._sent
                    _log.warning("What became of callbacks cannot be written down yet: %s", gone)
                    await asyncio.sleep(_AGAIN_SECONDS)
                else:
                    self._freed.set()


def _shown(body: bytes) -> str:
    return body[:_SHOWN].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
