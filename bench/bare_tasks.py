"""The pods and secrets of tasks, made, watched and removed by a loop that does nothing else: what a cluster does without us."""

import asyncio
import time

import msgspec

from tesk.caller import LOCAL
from tesk.compute.backend import AttemptId
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.credentials import find
from tesk.compute.kubernetes.detect import detect_layout
from tesk.compute.kubernetes.layout import SERVER, Layout
from tesk.compute.kubernetes.manifests import pod_manifest
from tesk.compute.kubernetes.memo import MEMO, memo_of, text
from tesk.compute.kubernetes.objects import Bare, Pod, path_of
from tesk.compute.kubernetes.secret import secret_manifest
from tesk.compute.kubernetes.settled import policy_of
from tesk.compute.plan import make_plan
from tesk.settings import KubernetesSettings, LimitsSettings, StorageSettings
from tesk.storage.needed import needed
from tesk.tes.ids import Ids
from tesk.tes.validation import accept

_HANDS = 64
_UID = "00000000-0000-0000-0000-000000000000"


async def bare_tasks(amount: int, task: bytes, settings: KubernetesSettings) -> float:
    """Make at once what a server with these settings makes for so many tasks; return the seconds until no pod is left.

    All is rendered before, once: only names, and the uid of a secret's pod, are put in as it goes.
    """
    namespace = settings.namespace
    pods, secrets = path_of("pods", namespace), path_of("secrets", namespace)
    selector = f"{SERVER}={settings.server_id}"
    hands = asyncio.Semaphore(_HANDS)
    ids = Ids()
    first = ids.make(time.time())
    async with Api(find(settings.kubeconfig)) as api:
        pod, secret = _rendered(AttemptId(first, 1), task, settings, await detect_layout(api, namespace, settings))
        _, version = await api.list(pods, Pod, selector=selector)
        begun = time.perf_counter()

        async def make() -> None:
            own = ids.make(time.time()).encode()
            async with hands:
                made = await api.create(pods, pod.replace(first.encode(), own), Bare)
                theirs = secret.replace(first.encode(), own).replace(_UID.encode(), made.metadata.uid.encode())
                await api.create(secrets, theirs, Bare)

        async def remove(name: str) -> None:
            async with hands:
                path = path_of("pods", namespace, name)
                await api.patch(path, {"metadata": {"finalizers": None}}, Bare)
                await api.delete(path, grace_seconds=0)

        making = asyncio.gather(*(make() for _ in range(amount)))
        removals: dict[str, asyncio.Task[None]] = {}
        left = amount
        async for event in api.watch(pods, Pod, selector=selector, resource_version=version):
            name = event.object.metadata.name
            if event.object.status.phase == "Succeeded" and name not in removals:
                removals[name] = asyncio.create_task(remove(name))
            left -= event.type == "DELETED"
            if not left:
                break
        seconds = time.perf_counter() - begun
        await asyncio.gather(making, *removals.values())
        return seconds


def _rendered(attempt: AttemptId, task: bytes, settings: KubernetesSettings, layout: Layout) -> tuple[bytes, bytes]:
    """Return the pod and the secret of a task, which says what it asks for, as JSON."""
    policy = policy_of(settings)
    accepted = accept(task, parameters=policy.parameters, content_limit_bytes=0)
    asked = accepted.task.resources
    assert asked is not None
    plan = make_plan(
        accepted.task,
        task_id=attempt.task_id,
        owner=LOCAL.name,
        extension=accepted.extension,
        cpu_cores=asked.cpu_cores or 0.0,
        ram_bytes=round((asked.ram_gb or 0.0) * 1e9),
        disk_bytes=round((asked.disk_gb or 0.0) * 1e9),
        tail_bytes=LimitsSettings().log_tail_bytes,
    )
    pod = pod_manifest(attempt, plan, settings, layout, policy.asked(plan))
    metadata = pod["metadata"]
    assert isinstance(metadata, dict)
    metadata["annotations"] |= {MEMO: text(memo_of(plan))}
    storage = needed(StorageSettings(), plan.transfer, web_identity=False)
    secret = secret_manifest(attempt, plan, _UID, storage, server_id=settings.server_id)
    return msgspec.json.encode(pod), msgspec.json.encode(secret)
