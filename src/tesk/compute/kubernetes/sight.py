"""What is seen of an attempt: its pod as the mirror has it, read by the clock of the cluster, and at its end what it reported."""

import asyncio
import time
from math import inf

from tesk.compute.backend import AttemptId, Observation, Phase
from tesk.compute.kubernetes.cluster import Cluster
from tesk.compute.kubernetes.objects import Pod
from tesk.compute.kubernetes.pod_status import Reading, read
from tesk.compute.kubernetes.pods import Known, Pods
from tesk.compute.kubernetes.results import observation
from tesk.compute.kubernetes.watch import Mirror
from tesk.errors import BackendUnavailable
from tesk.settings import KubernetesSettings

LEAST_GRACE_SECONDS = 1.0
"""None at all would be a forced deletion: the object would say that it ended before it did."""
SYNC_SECONDS = 5.0
_STUCK_SECONDS = 15.0
"""When containers wait for so long and do not say for what, events are looked at; then every so often."""
_EVENTS_SECONDS = 30.0
_REPORT_SECONDS = 60.0
"""How long a kubelet is asked for the report of a pod that is over."""


class Sight:
    """Looks at attempts. `unseen_seconds`: how long the mirror may say nothing of a pod that was made; then it may be gone."""

    def __init__(
        self, pods: Pods, cluster: Cluster, mirror: Mirror[Pod], settings: KubernetesSettings, *, unseen_seconds: float
    ) -> None:
        self._pods = pods
        self._cluster = cluster
        self._mirror = mirror
        self._settings = settings
        self._unseen_seconds = unseen_seconds

    async def synced(self, seconds: float, *, must: bool = True) -> None:
        """Wait until all pods were listed. Raises BackendUnavailable where that takes too long, if it `must` be."""
        if self._mirror.synced.is_set():
            return
        try:
            await asyncio.wait_for(self._mirror.synced.wait(), seconds)
        except TimeoutError:
            if must:
                raise BackendUnavailable("The pods of the cluster could not be listed yet.") from None

    async def known(self, attempt: AttemptId) -> Known | None:
        """Return what is known, None only where the cluster says that there is no such pod."""
        known = self._pods.get(attempt)
        if known is not None and known.unseen_since is not None:
            known = await self._seen(attempt, known, known.unseen_since)
        if known is None:
            await self.synced(SYNC_SECONDS)
            if (known := self._pods.get(attempt)) is None:
                pod = await self._cluster.find(attempt)
                known = self._pods.get(attempt) if pod is None else self._pods.found(attempt, pod)
        return known

    async def _seen(self, attempt: AttemptId, known: Known, since: float) -> Known | None:
        """Look for a pod that came and went while nobody watched: no list and no watch will ever tell of it."""
        if time.monotonic() - since < self._unseen_seconds:
            return known
        pod = await self._cluster.find(attempt)
        if pod is None or pod.metadata.uid != known.pod.metadata.uid:
            self._pods.gone(known.pod)
        else:
            known.unseen_since = time.monotonic()
        return self._pods.get(attempt)

    def reading(self, known: Known) -> Reading:
        """Read a pod as it is known."""
        return read(
            known.pod,
            now=self._now(),
            settings=self._settings,
            events=known.events,
            trouble=known.trouble,
            said=known.said,
        )

    async def look(self, attempt: AttemptId, known: Known) -> Observation:
        """Return what a pod shows of its attempt; one that can come to nothing is condemned."""
        if known.result is not None:
            return known.result
        reading = await self._read(attempt, known)
        if reading.over:
            return await self._conclude(attempt, known, reading)
        if reading.verdict is not None and not known.doomed:
            await self._cluster.condemn(known.pod, reading.verdict, LEAST_GRACE_SECONDS)
            known.doomed = True
        begins = reading.phase in (Phase.WAITING, Phase.STAGING)
        return Observation(
            attempt=attempt,
            phase=reading.phase,
            since=reading.since,
            waiting=reading.waiting,
            incomplete=begins and not known.whole and not reading.disturbed and not known.doomed,
        )

    async def _read(self, attempt: AttemptId, known: Known) -> Reading:
        reading = self.reading(known)
        stuck = reading.stuck
        if stuck is not None and not reading.over:
            since_asked = time.monotonic() - known.asked
            if self._now() - stuck >= _STUCK_SECONDS and since_asked >= _EVENTS_SECONDS:
                known.events = await self._cluster.events(known.pod)
                known.asked = time.monotonic()
                reading = self.reading(known)
            again = max(stuck + _STUCK_SECONDS, self._now() + _EVENTS_SECONDS * bool(known.asked))
            self._pods.tell_at(attempt, again - self._cluster.api.ahead_seconds)
        known.trouble = reading.trouble
        if reading.until < inf:
            self._pods.tell_at(attempt, reading.until - self._cluster.api.ahead_seconds)
        return reading

    def _now(self) -> float:
        """The time by the clock of the cluster, which all times of its pods are of."""
        return time.time() + self._cluster.api.ahead_seconds

    async def _conclude(self, attempt: AttemptId, known: Known, reading: Reading) -> Observation:
        known.over_since = known.over_since or time.monotonic()
        report = None
        if reading.reported:
            patient = time.monotonic() - known.over_since < _REPORT_SECONDS
            report = await self._cluster.report(known.pod, attempt, patient=patient)
        if known.result is None:
            known.result = observation(attempt, known.pod, reading, report)
            self._pods.tell(attempt)
        return known.result
