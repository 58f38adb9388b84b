"""Send what the outbox holds: fairly by lane, in order by task, as much at once as a host takes well."""

import asyncio
import logging
import random
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tesk.callbacks.host import Host
from tesk.callbacks.line import Answer, Broken
from tesk.callbacks.message import request
from tesk.callbacks.signature import Keys
from tesk.callbacks.target import Forbidden, Rules, Target
from tesk.callbacks.verdict import Verdict, judge
from tesk.errors import Unavailable
from tesk.settings import CallbacksSettings
from tesk.store.outbox import FARTHEST_SECONDS, Outbox, Outgoing, Pending, Sent, Status, Try, origin_of, owner_of
from tesk.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

_LANES = 1000
_LOOK_SECONDS = 0.005
"""No two looks are nearer: what comes meanwhile is found by the same one."""
_IDLE_SECONDS = 30.0
_HOLD_SECONDS = 120.0
_FRESH_SECONDS = 60.0
"""What was taken longer ago is given back, lest another server has it already when it is sent."""
_RECORDED_AT_ONCE = 128
_AGAIN_SECONDS = 2.0
_SHOWN = 512


class Sender:
    """Sends until canceled. What is on its way then is sent again by whoever comes next."""

    def __init__(
        self, outbox: Outbox, settings: CallbacksSettings, metrics: Metrics, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._rules = Rules(settings)
        self._keys = Keys(settings.keys)
        self._tls = ssl.create_default_context()
        # Names that nobody answers for hold threads up: their own.
        self._lookups = ThreadPoolExecutor(8, "tesk-lookup")
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
        finally:
            for each in self._sending:
                each.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)
            for host in self._hosts.values():
                host.close()
            self._lookups.shutdown(wait=False, cancel_futures=True)

    # -- take ------------------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._freed.clear()
            try:
                following = await self._take_all()
            except Unavailable as gone:
                _log.warning("Callbacks wait for the database: %s", gone)
                following = loop.time() + _AGAIN_SECONDS
            await asyncio.sleep(_LOOK_SECONDS)
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
        while page := await self._outbox.lanes(limit=_LANES, after=after):
            after = page[-1].lane
            for one in page:
                if one.due <= now or one.due > now + FARTHEST_SECONDS:
                    by_host.setdefault(origin_of(one.lane), []).append(one.lane)
                else:
                    following = min(following, loop.time() + one.due - now)
        for origin, lanes in by_host.items():
            host = self._hosts.setdefault(origin, Host())
            if host.until > loop.time():
                following = min(following, host.until)
                continue
            room = min(host.at_once - host.active, 4 * self._settings.connections - len(self._sending))
            fair = [lane for lane in lanes if self._users[owner_of(lane)] < 2 * self._settings.connections_per_user]
            if room > 0 and fair:
                random.shuffle(fair)
                await self._take(host, fair[:room], max(1, room // len(fair)))
        return following

    async def _take(self, host: Host, lanes: Sequence[str], each: int) -> None:
        for one in await self._outbox.take(lanes, now=self._clock(), each=each, hold_seconds=_HOLD_SECONDS):
            owner = owner_of(one.lane)
            host.active += 1
            self._users[owner] += 1
            task = asyncio.create_task(self._tell(host, one))
            self._sending.add(task)
            task.add_done_callback(partial(self._told, host, owner))

    def _told(self, host: Host, owner: str, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        host.active -= 1
        self._users[owner] -= 1
        if not self._users[owner]:
            del self._users[owner]
        self._freed.set()
        if not task.cancelled() and (bug := task.exception()) is not None:
            _log.error("A callback could not be sent for a fault of ours", exc_info=bug)

    # -- send --------------------------------------------------------------------------------------------------------------------

    async def _tell(self, host: Host, out: Outgoing) -> None:
        """Send a task's moves in order, up to the first that its listener does not take."""
        loop = asyncio.get_running_loop()
        taken, tries, wait = loop.time(), [], 0.0
        for move in out.moves:
            async with host.connections(self._settings.connections_per_host):
                if loop.time() - taken > _FRESH_SECONDS or host.until > loop.time():
                    break
                began, moment = loop.time(), self._clock()
                answer, error = await self._post(host, out, move)
                verdict = judge(answer, move, now=moment, settings=self._settings, chance=random.random())
                self._note(host, verdict, loop.time())
            tries.append(
                Try(
                    sequence=move.sequence,
                    status=verdict.status,
                    time=moment,
                    latency_seconds=loop.time() - began,
                    code=None if answer is None else answer.code,
                    answer="" if answer is None else _shown(answer.body),
                    error=error,
                )
            )
            self._metrics.called(verdict.status.value, tries[-1].latency_seconds)
            if verdict.status in (Status.PENDING, Status.ENDED):
                wait = verdict.wait_seconds
                break
        wait = max(wait, host.until - loop.time())
        self._sent.append(Sent(task_id=out.task_id, claim=out.claim, tries=tuple(tries), due=self._clock() + wait))
        self._recorded.set()

    async def _post(self, host: Host, out: Outgoing, move: Pending) -> tuple[Answer | None, str]:
        """Return the answer, or why none came."""
        line = None
        try:
            target = self._rules.check(out.url)
            line = await host.line(
                target, self._find, self._tls if target.tls else None, self._settings.connect_seconds
            )
            message = request(
                target,
                out.task_id,
                move,
                user=owner_of(out.lane),
                keys=self._keys,
                timestamp=int(self._clock()),
                plain=self._settings.plain,
            )
            answer = await line.post(
                message, first_seconds=self._settings.answer_seconds, whole_seconds=self._settings.whole_seconds
            )
        except (Broken, Forbidden) as error:
            return None, str(error)
        finally:
            if line is not None:
                host.give_back(line)
        return answer, ""

    async def _find(self, target: Target) -> list[str]:
        lookup = partial(socket.getaddrinfo, target.host, target.port, type=socket.SOCK_STREAM)
        try:
            async with asyncio.timeout(self._settings.connect_seconds):
                found = await asyncio.get_running_loop().run_in_executor(self._lookups, lookup)
        except TimeoutError:
            raise Broken(f"no address of {target.host} within {self._settings.connect_seconds:g} s") from None
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise Broken(f"no address of {target.host}: {why}") from error
        return self._rules.allowed(target.host, list(dict.fromkeys(str(place[0]) for *_, place in found)))

    def _note(self, host: Host, verdict: Verdict, now: float) -> None:
        if verdict.out_of_order:
            host.failed(now)
        else:
            host.heard()
        if verdict.host_seconds is not None:
            host.leave_alone(now + verdict.host_seconds)

    # -- write down ----------------------------------------------------------------------------------------------------------------

    async def _record(self) -> None:
        while True:
            await self._recorded.wait()
            self._recorded.clear()
            while self._sent:
                batch = self._sent[:_RECORDED_AT_ONCE]
                try:
                    await self._outbox.record(batch)
                except Unavailable as gone:
                    _log.warning("What became of callbacks cannot be written down yet: %s", gone)
                    await asyncio.sleep(_AGAIN_SECONDS)
                    continue
                del self._sent[: len(batch)]
                self._freed.set()


def _shown(body: bytes) -> str:
    return body[:_SHOWN].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
