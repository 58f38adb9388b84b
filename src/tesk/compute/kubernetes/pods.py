"""The pods of this installation by their attempts, as last seen, and who waits for news of them. Asks nobody."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

from tesk.compute.backend import AttemptId, Observation
from tesk.compute.kubernetes import layout as names
from tesk.compute.kubernetes.memo import FORGOTTEN, Verdict
from tesk.compute.kubernetes.objects import Event, Object, Pod
from tesk.compute.kubernetes.pod_status import is_scheduled


def attempt_of(made: Object) -> AttemptId | None:
    """Return whose pod or Job it is, by its labels: in a Job of Kueue's a pod's name is another."""
    task_id, number = made.metadata.labels.get(names.TASK), made.metadata.labels.get(names.ATTEMPT, "")
    return AttemptId(task_id, int(number)) if task_id and number.isdecimal() else None


_REMEMBERED_SECONDS = 3600.0
"""How long a pod that was forgotten is known by its uid. One that is still there later, and changes, is forgotten anew."""


class Known:
    """What is known of one attempt's pod. `whole`: its secret is there. `result`: what became of it, kept until it is forgotten.

    `unseen_since`: the answer to a call told of it then (monotonic seconds), and the mirror not yet.

    `said`: the verdict that is written on it, which the mirror may not know yet. `trouble` is of the last
    reading; `events`, where they were asked for, at `asked` (monotonic seconds).
    """

    __slots__ = (
        "asked",
        "doomed",
        "events",
        "over_since",
        "pod",
        "result",
        "said",
        "trouble",
        "unseen_since",
        "whole",
    )

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.whole = False
        self.doomed = False
        self.result: Observation | None = None
        self.said: Verdict | None = None
        self.trouble: tuple[str, float] | None = None
        self.events: tuple[Event, ...] = ()
        self.asked = 0.0
        self.over_since = 0.0
        self.unseen_since: float | None = None


class Pods:
    """All pods that count. `kept` are those that were forgotten and are still there for people, by uid.

    `queued`: attempts whose Jobs have yet to make a pod, as far as somebody has said so.
    """

    def __init__(self, *, jobs: bool = False, remembered_seconds: float = _REMEMBERED_SECONDS) -> None:
        """`jobs`: some may come in Jobs, so that their names go on behind the attempt's."""
        self._jobs = jobs
        self._remembered_seconds = remembered_seconds
        self.kept: dict[str, Pod] = {}
        self.queued: set[AttemptId] = set()
        self._known: dict[AttemptId, Known] = {}
        self._forgotten: dict[str, float] = {}
        self._unscheduled: set[AttemptId] = set()
        # Each once, in order: nobody hears of them while the server has no lease.
        self._changes: dict[AttemptId, None] = {}
        self._told = asyncio.Event()
        self._waiters: dict[AttemptId, set[asyncio.Event]] = {}
        self._alarms: dict[AttemptId, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[AttemptId]:
        return iter([*self._known])

    @property
    def unscheduled(self) -> int:
        """How many wait for a node."""
        return len(self._unscheduled)

    def get(self, attempt: AttemptId) -> Known | None:
        """Return what is known."""
        return self._known.get(attempt)

    def found(self, attempt: AttemptId, pod: Pod) -> Known:
        """Know a pod by the answer to a call. What the mirror has told of it meanwhile is newer."""
        known = self._known.get(attempt)
        if known is None or known.pod.metadata.uid != pod.metadata.uid:
            known = self._put(attempt, pod)
            known.unseen_since = time.monotonic()
        return known

    def _put(self, attempt: AttemptId, pod: Pod) -> Known:
        known = self._known.get(attempt)
        if known is None or known.pod.metadata.uid != pod.metadata.uid:
            known = self._known[attempt] = Known(pod)
        else:
            known.pod = pod
        self.queued.discard(attempt)
        if is_scheduled(pod):
            self._unscheduled.discard(attempt)
        else:
            self._unscheduled.add(attempt)
        return known

    # -- what the mirror tells --------------------------------------------------------------------------------------------
    def changed(self, pod: Pod) -> None:
        """A pod is new, or another than before."""
        attempt, uid = attempt_of(pod), pod.metadata.uid
        if attempt is None or not self._is_named(attempt, pod.metadata.name):
            return
        if FORGOTTEN in pod.metadata.annotations:
            self.kept[uid] = pod
            self.forget(attempt, uid)  # another server may have done it
            return
        if uid in self._forgotten:
            return
        self._put(attempt, pod).unseen_since = None
        self.tell(attempt)

    def _is_named(self, attempt: AttemptId, name: str) -> bool:
        """Say whether it is the attempt's own: a copy that somebody made for a look has its labels, but not its name."""
        return name == str(attempt) or (self._jobs and name.startswith(f"{attempt}-"))

    def gone(self, pod: Pod) -> None:
        """A pod is no longer there."""
        attempt, uid = attempt_of(pod), pod.metadata.uid
        self._forgotten.pop(uid, None)
        self.kept.pop(uid, None)
        if attempt is not None and (known := self._known.get(attempt)) is not None and known.pod.metadata.uid == uid:
            self._remove(attempt)
            self.tell(attempt)

    # -- news ---------------------------------------------------------------------------------------------------------------
    def tell(self, attempt: AttemptId) -> None:
        """Say that an attempt is worth a look."""
        self._changes[attempt] = None
        self._told.set()
        self._wake(attempt)

    def _wake(self, attempt: AttemptId) -> None:
        for waiter in self._waiters.get(attempt, ()):
            waiter.set()

    async def changes(self) -> AsyncIterator[AttemptId]:
        """Yield attempts that are worth a look, for ever."""
        while True:
            while self._changes:
                attempt = next(iter(self._changes))
                del self._changes[attempt]
                yield attempt
            self._told.clear()
            await self._told.wait()

    def tell_at(self, attempt: AttemptId, when: float) -> None:
        """Say at a time (seconds since the epoch) that an attempt is worth a look; of two times the earlier one counts."""
        if attempt not in self._known:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, when - time.time())
        alarm = self._alarms.get(attempt)
        if alarm is not None and loop.time() < alarm.when() <= due:
            return
        if alarm is not None:
            alarm.cancel()
        self._alarms[attempt] = loop.call_at(due + 0.01, self.tell, attempt)

    async def news(self, attempt: AttemptId, seconds: float | None = None) -> None:
        """Return when an attempt is worth a look, or after so many seconds."""
        waiter = asyncio.Event()
        self._waiters.setdefault(attempt, set()).add(waiter)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiter.wait(), seconds)
        finally:
            waiters = self._waiters[attempt]
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[attempt]

    # -- the end --------------------------------------------------------------------------------------------------------------
    def forget(self, attempt: AttemptId, uid: str) -> None:
        """Know nothing more of an attempt's pod, whatever the mirror still tells of it."""
        known = self._known.get(attempt)
        if known is not None and known.pod.metadata.uid == uid:
            now = time.monotonic()
            self._forgotten[uid] = now
            while self._forgotten and now - next(iter(self._forgotten.values())) > self._remembered_seconds:
                del self._forgotten[next(iter(self._forgotten))]
            self._remove(attempt)
            self._wake(attempt)

    def close(self) -> None:
        """Cancel what was to be told later."""
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()

    def _remove(self, attempt: AttemptId) -> None:
        del self._known[attempt]
        self._unscheduled.discard(attempt)
        if (alarm := self._alarms.pop(attempt, None)) is not None:
            alarm.cancel()
