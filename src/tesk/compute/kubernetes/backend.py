"""Attempts as pods of a cluster, behind the Protocol of backends. They outlive the server, and any server adopts them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

from tesk.compute.backend import AttemptId, Capacity, Observation, Phase, Piece, Stream
from tesk.compute.kubernetes import layout as names
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.cluster import Cluster, Needed, Resolve
from tesk.compute.kubernetes.container_log import written
from tesk.compute.kubernetes.credentials import find
from tesk.compute.kubernetes.detect import detect_layout
from tesk.compute.kubernetes.layout import Layout
from tesk.compute.kubernetes.loops import kept
from tesk.compute.kubernetes.memo import FORGOTTEN, Verdict
from tesk.compute.kubernetes.objects import Pod, path_of
from tesk.compute.kubernetes.pod_status import container, has_ended
from tesk.compute.kubernetes.pods import Known, Pods, attempt_of
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.quotas import Quotas
from tesk.compute.kubernetes.refusals import Refused
from tesk.compute.kubernetes.rights import uses_queue
from tesk.compute.kubernetes.sight import LEAST_GRACE_SECONDS, SYNC_SECONDS, Sight
from tesk.compute.kubernetes.watch import Mirror
from tesk.compute.plan import Plan
from tesk.errors import BackendUnavailable, StartError
from tesk.pod import INPUTS, OUTPUTS
from tesk.settings import KubernetesSettings
from tesk.transfer import Progress

_log = logging.getLogger(__name__)

_FIRST_SECONDS = 10.0
"""How long the first list is waited for at the start; later the server goes on without."""
_DEAF_SECONDS = 150.0
_GONE_SECONDS = 60.0
_REAP_SECONDS = 10.0
_UNSEEN_SECONDS = 30.0
"""How long the mirror may say nothing of a pod that was made: then it may be gone, and was never seen."""
_IN_QUEUE = "It waits to be admitted by its queue."
_STOPPED = Verdict(phase=Phase.PREEMPTED, reason="The attempt was stopped.", ours=True)


class KubernetesBackend:
    """Runs attempts as pods. Use it between `open` and `close`, in one event loop.

    `settings.server_id` is not empty. `needed` gives what of the storage settings a task's data needs, `resolve` the image
    that another kind of name stands for.
    """

    name = "kubernetes"
    place = ""
    """Empty until the cluster has said which it is."""
    shared = True
    says: tuple[str, ...] = ()
    """Once open: what holds of this cluster."""

    def __init__(
        self,
        settings: KubernetesSettings,
        policy: Policy,
        needed: Needed,
        resolve: Resolve,
        *,
        api: Api | None = None,
        unseen_seconds: float = _UNSEEN_SECONDS,
    ) -> None:
        """`api`: how the cluster is reached, if not by the settings. Raises StartError where no cluster is known."""
        self._settings = settings
        self.api = api or Api(find(settings.kubeconfig, settings.context))
        self._pods = Pods(jobs=uses_queue(settings))
        self._quotas = Quotas(self._pods.tell)
        self._cluster = Cluster(self.api, settings, policy, self._quotas, needed=needed, resolve=resolve)
        self._mirror = Mirror(
            self.api,
            [path_of("pods", each) for each in self._cluster.namespaces],
            Pod,
            selector=f"{names.MANAGED_BY}=tesk,{names.SERVER}={settings.server_id}",
            changed=self._changed,
            gone=self._gone,
        )
        self._sight = Sight(self._pods, self._cluster, self._mirror, settings, unseen_seconds=unseen_seconds)
        self._layout_lock = asyncio.Lock()
        self._starting = 0
        self._loops: list[asyncio.Task[None]] = []

    def _changed(self, pod: Pod) -> None:
        self._pods.changed(pod)
        if has_ended(pod):
            self._quotas.room(pod.metadata.namespace)

    def _gone(self, pod: Pod) -> None:
        self._pods.gone(pod)
        self._quotas.room(pod.metadata.namespace)

    # -- life -----------------------------------------------------------------------------------------------------------------
    async def open(self) -> None:
        await self.api.__aenter__()
        try:
            async with asyncio.timeout(_FIRST_SECONDS):
                layout = await self._layout()
                await self._identify()
            self.says = (f"Pods run in {', '.join(self._cluster.namespaces)}.", layout.sentence())
            for namespace in self._cluster.namespaces:
                await self.api.list(path_of("pods", namespace), Pod, selector=f"{names.SERVER}=none", limit=1)
            async with asyncio.timeout(_FIRST_SECONDS):
                await self._cluster.try_out(layout)
        except StartError:
            await self.api.close()
            raise
        except Refused as error:
            await self.api.close()
            raise StartError(f"The cluster does not let this server work: {error}") from error
        except (BackendUnavailable, TimeoutError) as error:
            _log.warning("The cluster cannot be used yet; tasks wait until it can: %s", error or "it took too long")
        self._loops = [asyncio.create_task(kept(self._mirror.run)), asyncio.create_task(kept(self._reap))]
        await self._sight.synced(_FIRST_SECONDS, must=False)

    async def close(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._pods.close()
        self._quotas.close()
        await self.api.close()

    async def _identify(self) -> None:
        if not self.place:
            self.place = await self._cluster.place()

    async def _layout(self) -> Layout:
        async with self._layout_lock:
            if self._cluster.layout is None:
                self._cluster.layout = await detect_layout(self.api, self._cluster.namespace, self._settings)
            return self._cluster.layout

    def owns(self, place: str) -> bool:
        # Servers before the first release named no cluster: what they began is ended, and made anew.
        return place in (self.place, self.place.rpartition(":")[0])

    def abandoned(self, place: str) -> bool:
        return self.owns(place)

    # -- begin ----------------------------------------------------------------------------------------------------------------
    async def start(self, attempt: AttemptId, plan: Plan) -> None:
        self._starting += 1
        try:
            known = self._pods.get(attempt)
            fresh = known is None
            if known is None:
                pod = await self._cluster.create(attempt, plan, await self._layout())
                if pod is None:
                    self._pods.queued.add(attempt)
                    return  # Kueue lets a pod be made when there is room
                known = self._pods.found(attempt, pod)
            if known.whole or known.result is not None or known.pod.metadata.deletion_timestamp is not None:
                return
            await self._cluster.give_secret(attempt, plan, known.pod, fresh=fresh)
            known.whole = True
        finally:
            self._starting -= 1

    def room(self) -> int | None:
        if not self._mirror.synced.is_set() or self._mirror.age_seconds() > _DEAF_SECONDS:
            return 0
        waiting = self._pods.unscheduled + len(self._pods.queued) + self._starting + len(self._quotas)
        return max(0, self._settings.pending_limit - waiting)

    async def capacity(self) -> Capacity | None:
        try:  # asked before each lease, which is one of a place
            await self._identify()
        except Refused as error:
            raise BackendUnavailable(f"The cluster does not say which it is: {error}") from error
        return None

    # -- look -----------------------------------------------------------------------------------------------------------------
    async def observe(self, attempt: AttemptId) -> Observation:
        known = await self._sight.known(attempt)
        if known is None:
            return await self._without_pod(attempt)
        return await self._sight.look(attempt, known)

    async def _without_pod(self, attempt: AttemptId) -> Observation:
        if await self._cluster.has_job(attempt):
            return Observation(attempt=attempt, phase=Phase.WAITING, since=time.time(), waiting=_IN_QUEUE)
        self._pods.queued.discard(attempt)
        return Observation(attempt=attempt, phase=Phase.ABSENT, since=time.time())

    def waiting(self, attempt: AttemptId) -> str | None:
        known = self._pods.get(attempt)
        if known is not None:
            # Read now, not kept from a look: another server may have the task, and this one is asked.
            return None if known.result is not None else self._sight.reading(known).waiting
        return _IN_QUEUE if attempt in self._pods.queued else self._quotas.sentence(attempt)

    async def progress(self, attempt: AttemptId) -> Progress | None:
        known = self._pods.get(attempt)
        if known is None:
            return None
        for name in (INPUTS, OUTPUTS):
            others = [status for status in known.pod.status.container_statuses if status.name.startswith("executor-")]
            late = all(status.state.terminated for status in others)
            if container(known.pod, name).state.running is not None and (name == INPUTS or late):
                return await self._cluster.progress(known.pod, name)
        return None

    # -- end ------------------------------------------------------------------------------------------------------------------
    async def stop(self, attempt: AttemptId, grace_seconds: float) -> None:
        known = await self._sight.known(attempt)
        if known is None:
            await self._cluster.delete_job(attempt)
            self._pods.queued.discard(attempt)
            return
        if known.result is None and not self._sight.reading(known).over:
            known.said = _STOPPED
            # Without a grace this server ends, too, so it writes first.
            end = self._cluster.stop if grace_seconds > 0 else self._cluster.condemn
            await end(known.pod, _STOPPED, max(LEAST_GRACE_SECONDS, grace_seconds))

    async def forget(self, attempt: AttemptId, place: str | None = None) -> None:  # noqa: ARG002  ours have one place
        self._quotas.forget(attempt)
        known = await self._sight.known(attempt)
        if known is None:
            await self._cluster.delete_job(attempt)
            self._pods.queued.discard(attempt)
            return
        pod = await self._ended(attempt, known)
        if pod is None:
            return
        kept = self._settings.keep_seconds > 0 and pod.metadata.deletion_timestamp is None
        if kept:  # first: once the pod counts no more nobody looks after its secret
            await self._cluster.delete_secret(pod)
        await self._cluster.let_go(pod, kept_since=time.time() if kept else None)
        if not kept:
            await self._cluster.delete(pod, 0)
        self._pods.forget(attempt, pod.metadata.uid)

    async def _ended(self, attempt: AttemptId, known: Known) -> Pod | None:
        """Have what runs end, and return its pod; None where it went away altogether."""
        uid = known.pod.metadata.uid
        asked, until = False, time.monotonic() + _GONE_SECONDS
        while not self._sight.reading(known).over:
            if not asked:
                known.said = _STOPPED
                await self._cluster.stop(known.pod, _STOPPED, LEAST_GRACE_SECONDS)
                asked = True
            if time.monotonic() >= until:
                raise BackendUnavailable(f"The pod of attempt {attempt} is still being ended.")
            await self._pods.news(attempt, min(1.0, _GONE_SECONDS))
            found = self._pods.get(attempt)
            if found is None or found.pod.metadata.uid != uid:
                return None
            known = found
        return known.pod

    async def existing(self) -> AsyncIterator[AttemptId]:
        await self._sight.synced(SYNC_SECONDS)
        jobs = await self._cluster.jobs()
        # A pod that is kept for people would go with its Job.
        kept = {attempt_of(pod) for pod in self._pods.kept.values()}
        self._pods.queued = {each for each in jobs if each not in kept and self._pods.get(each) is None}
        for attempt in [*self._pods, *self._pods.queued]:
            yield attempt

    async def _reap(self) -> None:
        """Delete pods that were kept for people, when their time is over."""
        while True:
            await asyncio.sleep(_REAP_SECONDS)
            for pod in [*self._pods.kept.values()]:
                since = pod.metadata.annotations.get(FORGOTTEN, "")
                if not since.isdecimal() or time.time() >= float(since) + self._settings.keep_seconds:
                    with contextlib.suppress(BackendUnavailable):
                        await self._cluster.delete(pod, 0)

    # -- news -----------------------------------------------------------------------------------------------------------------
    async def changes(self) -> AsyncIterator[AttemptId]:
        async for attempt in self._pods.changes():
            yield attempt

    def tells_all(self) -> bool:
        return self._mirror.synced.is_set() and self._mirror.age_seconds() < _DEAF_SECONDS

    def logs(self, attempt: AttemptId, executor: int, *, stream: Stream, follow: bool) -> AsyncIterator[Piece]:
        return written(self._pods, self.api, attempt, executor, stream=stream, follow=follow)
