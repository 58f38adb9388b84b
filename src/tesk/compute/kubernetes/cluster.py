"""What the backend does to a cluster: makes pods with their secrets, reads what they say, ends them. Acts."""

import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from math import ceil

import msgspec

from tesk.compute.backend import AttemptId
from tesk.compute.kubernetes import layout as names
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.layout import Layout
from tesk.compute.kubernetes.manifests import job_manifest, labels_of, pod_manifest, pod_name
from tesk.compute.kubernetes.memo import FORGOTTEN, MEMO, VERDICT, Verdict, memo_of, text
from tesk.compute.kubernetes.objects import Bare, Event, Pod, path_of
from tesk.compute.kubernetes.pod_status import container
from tesk.compute.kubernetes.pods import attempt_of
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.quotas import Quotas
from tesk.compute.kubernetes.refusals import AlreadyExists, Conflict, Forbidden, Invalid, NotFound, Refused
from tesk.compute.kubernetes.rights import namespaces, uses_queue
from tesk.compute.kubernetes.secret import secret_manifest
from tesk.compute.kubernetes.template import Document
from tesk.compute.kubernetes.trial import try_out
from tesk.compute.plan import Plan
from tesk.errors import BackendUnavailable, CannotRun, TransferFailed, TransferRefused
from tesk.pod import OUTPUTS, REPORT_BYTES, AttemptReport
from tesk.pod_report import read_report
from tesk.settings import KubernetesSettings, StorageSettings
from tesk.transfer import Progress, TransferList

Resolve = Callable[[str, str], Awaitable[str]]
"""Gives the image that another kind of name stands for to a caller, and any other name as it is. Raises TransferError."""
Needed = Callable[[TransferList], StorageSettings]
"""Gives what of the storage settings a task's data needs. Raises CannotRun."""

_REPORT_LINES = 600
"""A runtime keeps a long line in pieces of 16 KiB, of which some kubelets count each: as many as the longest report has."""
_NO_RIGHT = re.compile(r'cannot \w+ resource "')
_progress = msgspec.json.Decoder(Progress).decode
_log = logging.getLogger(__name__)


class Cluster:
    """One installation's objects in a cluster. `layout` is what the cluster can, once known.

    Its verbs raise BackendUnavailable where the API server does not answer.
    """

    def __init__(
        self,
        api: Api,
        settings: KubernetesSettings,
        policy: Policy,
        quotas: Quotas,
        *,
        needed: Needed,
        resolve: Resolve,
    ) -> None:
        self.api = api
        self.namespace = settings.namespace or api.namespace
        self._settings = settings
        self._policy = policy
        self._needed = needed
        self._resolve = resolve
        self._quotas = quotas
        self.layout: Layout | None = None

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Where there may be pods of ours."""
        return namespaces(self._settings, self.namespace)

    async def place(self) -> str:
        """Return what no other cluster has: with it go the uid of the namespace, and whose pods are ours. Raises Refused."""
        namespace = await self.api.get(path_of("namespaces", name=self.namespace), Bare)
        return f"kubernetes:{self.namespace}:{self._settings.server_id}:{namespace.metadata.uid}"

    async def try_out(self, layout: Layout) -> None:
        """Raise StartError where the cluster takes no pods as the settings have them."""
        for namespace in self.namespaces:
            await try_out(self.api, namespace, self._settings, self._policy, layout)

    # -- begin ----------------------------------------------------------------------------------------------------------------
    async def create(self, attempt: AttemptId, plan: Plan, layout: Layout) -> Pod | None:
        """Make an attempt's pod, or find the one that is there; None where a Job was made that has yet to make it.

        Raises CannotRun.
        """
        asked = self._policy.asked(plan)
        manifest = pod_manifest(attempt, plan, self._settings, layout, asked, images=await self._images(plan))
        metadata = manifest["metadata"]
        assert isinstance(metadata, dict)
        metadata["annotations"] = {**metadata.get("annotations", {}), MEMO: text(memo_of(plan))}
        namespace = asked.namespace or self.namespace
        metadata["namespace"] = namespace
        self._quotas.check(namespace, attempt)
        if asked.queue:
            await self._make("jobs", namespace, attempt, job_manifest(manifest, asked.queue), Bare, group="batch/v1")
            return None
        return await self._make("pods", namespace, attempt, manifest, Pod)

    async def _make(
        self, kind: str, namespace: str, attempt: AttemptId, manifest: Document, shape: type, *, group: str = "v1"
    ) -> Pod:
        name = pod_name(attempt)
        try:
            made: Pod = await self.api.create(path_of(kind, namespace, group=group), manifest, shape)
        except AlreadyExists:
            with _as_for_now(f"The {kind.removesuffix('s')} {name} that is there cannot be looked at"):
                made = await self.api.get(path_of(kind, namespace, name, group=group), shape)
            if not self._is_ours(made, attempt):
                raise CannotRun(
                    f"The namespace {namespace} has a {kind.removesuffix('s')} {name} already, which is not this server's."
                ) from None
        except Invalid as error:
            raise CannotRun(f"Kubernetes does not take the pod: {error}") from error
        except Forbidden as error:
            if error.quota or error.ending:
                self._quotas.no_room(namespace, attempt, f"It waits: {error}")
                raise BackendUnavailable(f"It waits: {error}") from error
            if _NO_RIGHT.search(str(error)):
                raise BackendUnavailable(f"The server may not make pods: {error}") from error
            raise CannotRun(f"The cluster does not allow the pod: {error}") from error
        except Refused as error:
            raise BackendUnavailable(f"The pod cannot be made now: {error}") from error
        self._quotas.room(namespace, attempt)
        return made

    def _is_ours(self, made: Bare | Pod, attempt: AttemptId) -> bool:
        labels = labels_of(attempt, self._settings.server_id)
        return labels.items() <= made.metadata.labels.items()

    async def _images(self, plan: Plan) -> dict[int, str]:
        images: dict[int, str] = {}
        for step in plan.steps:
            try:
                image = await self._resolve(step.image, plan.transfer.caller)
            except TransferRefused as error:
                raise CannotRun(f"executors[{step.index}].image: {error}") from error
            except TransferFailed as error:
                raise BackendUnavailable(f"executors[{step.index}].image: {error}") from error
            if image != step.image:
                images[step.index] = image
        return images

    async def give_secret(self, attempt: AttemptId, plan: Plan, pod: Pod, *, fresh: bool) -> None:
        """Make the secret that a pod waits for. `fresh`: the pod was made just now, so one that is there is another's.

        Raises CannotRun.
        """
        namespace, uid = pod.metadata.namespace, pod.metadata.uid
        manifest = secret_manifest(
            attempt,
            plan,
            uid,
            self._needed(plan.transfer),
            server_id=self._settings.server_id,
            namespace=namespace,
            owner=pod.metadata.name,
            containers=len(pod.spec.containers) + len(pod.spec.init_containers),
        )
        path = path_of("secrets", namespace)
        try:
            await self.api.create(path, manifest, Bare)
        except AlreadyExists:
            if not fresh:
                return
            # Of an earlier pod of that name: the cluster has not cleaned up yet.
            with _as_for_now("The pod's secret cannot be made"):
                with contextlib.suppress(NotFound):
                    await self.api.delete(path_of("secrets", namespace, pod_name(attempt)))
                await self.api.create(path, manifest, Bare)
        except Refused as error:
            raise BackendUnavailable(f"The pod's secret cannot be made now: {error}") from error

    # -- look -----------------------------------------------------------------------------------------------------------------
    async def find(self, attempt: AttemptId) -> Pod | None:
        """Ask every namespace for an attempt's pod."""
        for namespace in self.namespaces:
            try:
                pod = await self.api.get(path_of("pods", namespace, pod_name(attempt)), Pod)
            except NotFound:
                continue
            except Refused as error:
                raise BackendUnavailable(f"The server may not look for pods: {error}") from error
            if self._is_ours(pod, attempt) and FORGOTTEN not in pod.metadata.annotations:
                return pod
        return None

    async def has_job(self, attempt: AttemptId) -> bool:
        """Say whether a Job is there that has yet to make an attempt's pod."""
        if not self._uses_jobs:
            return False
        for namespace in self.namespaces:
            path = path_of("jobs", namespace, pod_name(attempt), group="batch/v1")
            with _as_for_now("The server may not look for Jobs"), contextlib.suppress(NotFound):
                if self._is_ours(await self.api.get(path, Bare), attempt):
                    return True
        return False

    async def jobs(self) -> list[AttemptId]:
        """Return whose Jobs are there."""
        if not self._uses_jobs:
            return []
        selector = f"{names.MANAGED_BY}=tesk,{names.SERVER}={self._settings.server_id}"
        found: list[Bare] = []
        for namespace in self.namespaces:
            with _as_for_now("The server may not look for Jobs"):
                found += (await self.api.list(path_of("jobs", namespace, group="batch/v1"), Bare, selector=selector))[0]
        return [attempt for job in found if (attempt := attempt_of(job)) and job.metadata.name == pod_name(attempt)]

    @property
    def _uses_jobs(self) -> bool:
        return uses_queue(self._settings)

    async def events(self, pod: Pod) -> tuple[Event, ...]:
        """Return what was told of a pod; nothing where we may not read it."""
        fields = f"involvedObject.uid={pod.metadata.uid}"
        try:
            events, _ = await self.api.list(path_of("events", pod.metadata.namespace), Event, fields=fields)
        except Refused:
            return ()
        return tuple(events)

    async def report(self, pod: Pod, attempt: AttemptId, *, patient: bool) -> AttemptReport | None:
        """Return what a pod reported: whole if it can be had, else its summary, else None. `patient`: ask again later.

        One of another pod, or of another attempt, is none.
        """
        end = container(pod, OUTPUTS).state.terminated

        def ours(report: AttemptReport | None) -> AttemptReport | None:
            known = report is not None and (report.pod, report.attempt) == (pod.metadata.uid, str(attempt))
            return report if known else None

        summary = ours(read_report((end.message or "").encode())) if end is not None else None
        if summary is not None and not summary.cut:
            return summary
        try:
            whole = ours(read_report(await self._last_line(pod, OUTPUTS, _REPORT_LINES)))
        except Refused:
            whole = None
        except BackendUnavailable:
            # A kubelet that is silent answers so as well, and its node may be gone for good.
            if patient:
                raise
            whole = None
        return whole or summary

    async def progress(self, pod: Pod, name: str) -> Progress | None:
        """Return the newest that one of our containers said of the data that it moves."""
        try:
            return _progress(await self._last_line(pod, name, 1))
        except (Refused, msgspec.MsgspecError):
            return None

    async def _last_line(self, pod: Pod, name: str, lines: int) -> bytes:
        said = bytearray()
        meta = pod.metadata
        async for piece in self.api.logs(meta.namespace, meta.name, name, tail_lines=lines):
            said += piece
            if len(said) > 3 * REPORT_BYTES:
                del said[: -2 * REPORT_BYTES]
        return bytes(said).rstrip(b"\n").rpartition(b"\n")[2]

    # -- end ------------------------------------------------------------------------------------------------------------------
    async def condemn(self, pod: Pod, said: Verdict, grace_seconds: float) -> None:
        """Write down how an attempt is to be seen, then delete its pod, which stays until its finalizer goes."""
        await self._write(pod, said)
        await self.delete(pod, grace_seconds)

    async def stop(self, pod: Pod, said: Verdict, grace_seconds: float) -> None:
        """Delete a pod that somebody waits to see gone, then write down how its attempt is to be seen.

        A kubelet takes a second for each change of a pod, and would send TERM only after a change that came before.
        """
        await self.delete(pod, grace_seconds)
        await self._write(pod, said)

    async def _write(self, pod: Pod, said: Verdict) -> None:
        meta = pod.metadata
        if VERDICT in meta.annotations:
            return
        body = {"metadata": {"uid": meta.uid, "annotations": {VERDICT: text(said)}}}
        try:
            await self.api.patch(path_of("pods", meta.namespace, meta.name), body, Pod)
        except (NotFound, Conflict):
            return
        except Refused as error:
            raise BackendUnavailable(f"The pod cannot be changed now: {error}") from error

    async def delete(self, pod: Pod, grace_seconds: float) -> None:
        """Delete a pod, if it is still the one that is meant, and what it was made by."""
        meta = pod.metadata
        try:
            if (attempt := attempt_of(pod)) is not None:
                await self.delete_job(attempt, meta.namespace)
            await self.api.delete(
                path_of("pods", meta.namespace, meta.name), grace_seconds=ceil(grace_seconds), uid=meta.uid
            )
        except (NotFound, Conflict):
            return
        except Refused as error:
            raise BackendUnavailable(f"The pod cannot be deleted now: {error}") from error

    async def delete_job(self, attempt: AttemptId, namespace: str | None = None) -> None:
        """Delete the Job of an attempt, where there may be one and it is ours. `namespace`: where it is, if known."""
        for place in (namespace,) if namespace else self.namespaces:
            if not self._uses_jobs:
                return
            path = path_of("jobs", place, pod_name(attempt), group="batch/v1")
            with _as_for_now("The Job cannot be deleted"), contextlib.suppress(NotFound, Conflict):
                job = await self.api.get(path, Bare)
                if self._is_ours(job, attempt):
                    await self.api.delete(path, uid=job.metadata.uid, propagation="Background")

    async def let_go(self, pod: Pod, *, kept_since: float | None) -> None:
        """Take our finalizer off a pod. `kept_since`: it stays for people, without its secret, and counts no more."""
        meta = pod.metadata
        path = path_of("pods", meta.namespace, meta.name)
        finalizers: Sequence[str] = meta.finalizers
        for _ in range(3):
            steps: list[Document] = [{"op": "test", "path": "/metadata/uid", "value": meta.uid}]
            if names.FINALIZER in finalizers:
                at = f"/metadata/finalizers/{[*finalizers].index(names.FINALIZER)}"
                steps += [{"op": "test", "path": at, "value": names.FINALIZER}, {"op": "remove", "path": at}]
            if kept_since is not None:
                key = FORGOTTEN.replace("/", "~1")
                steps.append({"op": "add", "path": f"/metadata/annotations/{key}", "value": f"{kept_since:.0f}"})
            if len(steps) == 1:
                return
            try:
                await self.api.patch(path, steps, msgspec.Raw, kind="json")
            except NotFound:
                return
            except (Invalid, Conflict):
                # Somebody else changed its finalizers, or it is another pod of that name.
                try:
                    with _as_for_now("The pod cannot be looked at", but=NotFound):
                        there = await self.api.get(path, Pod)
                except NotFound:
                    return
                if there.metadata.uid != meta.uid:
                    return
                finalizers = there.metadata.finalizers
                continue
            except Refused as error:
                raise BackendUnavailable(f"The pod cannot be changed now: {error}") from error
            return
        raise BackendUnavailable(f"The finalizers of pod {meta.name} are changed by somebody all the time")

    async def delete_secret(self, pod: Pod) -> None:
        """Delete the secret of a pod that stays."""
        name = f"{pod.metadata.labels[names.TASK]}-{pod.metadata.labels[names.ATTEMPT]}"
        try:
            await self.api.delete(path_of("secrets", pod.metadata.namespace, name))
        except NotFound:
            return
        except Refused as error:
            raise BackendUnavailable(f"The pod's secret cannot be deleted now: {error}") from error


@contextlib.contextmanager
def _as_for_now(sentence: str, but: type[Refused] | tuple[()] = ()) -> Iterator[None]:
    """Take a no of the API server for one that may change: rights come back, and what was there goes."""
    try:
        yield
    except but:
        raise
    except Refused as error:
        raise BackendUnavailable(f"{sentence} now: {error}") from error
