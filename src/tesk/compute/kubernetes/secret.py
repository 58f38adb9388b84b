"""The secret of one pod: what its containers are told, each item readable by one of them alone. Pure.

Commands and environments travel here and not in the pod: Kubernetes would expand `$(X)` in them, and everybody who may look
at pods would read them.
"""

import gzip
from base64 import b64encode

from msgspec import Struct, json

from tesk.compute.backend import AttemptId
from tesk.compute.kubernetes.manifests import labels_of, pod_name, singles, workdir_made
from tesk.compute.kubernetes.template import Document
from tesk.compute.plan import Plan, Shared
from tesk.errors import CannotRun
from tesk.pod import EXECUTOR_KEY, STAGER_KEY, PodExecutor, PodJob, ShimJob
from tesk.settings import StorageSettings

LIMIT_BYTES = 1024 * 1024
"""Most that Kubernetes takes in one secret."""
POD_LIMIT_BYTES = 1_250_000
"""Largest pod that is tried: etcd takes 1.5 MiB, and Kubernetes adds what it fills in."""

_FOLDERS = frozenset({Shared.FOLDER, Shared.WORKDIR})


def jobs(
    attempt: AttemptId, plan: Plan, pod_uid: str, storage: StorageSettings, containers: int = 0
) -> dict[str, Struct]:
    """Return what each item of the secret says. `storage` is what this task's data needs, credentials included.

    `containers`: how many the pod has, where it is known.
    """
    stager = PodJob(
        pod=pod_uid,
        attempt=str(attempt),
        transfers=plan.transfer,
        settings=storage,
        executors=tuple(PodExecutor(ignore_error=step.ignore_error, tail_bytes=plan.tail_bytes) for step in plan.steps),
        # Those that are mounted, too: where a volume's own mode is none for all, neither is that of a folder in it.
        folders=tuple(sorted({*plan.folders, *(entry.path for entry in plan.shared if entry.kind in _FOLDERS)})),
        singles=singles(plan),
        containers=containers,
    )
    made: dict[str, Struct] = {STAGER_KEY: stager}
    for step in plan.steps:
        made[EXECUTOR_KEY.format(step.index)] = ShimJob(
            pod=pod_uid,
            index=step.index,
            command=step.command,
            env=step.env,
            workdir=step.workdir,
            workdir_made=workdir_made(plan, step.workdir),
            stdin=step.stdin,
            stdout=step.stdout,
            stderr=step.stderr,
            tail_bytes=plan.tail_bytes,
        )
    return made


def secret_manifest(
    attempt: AttemptId,
    plan: Plan,
    pod_uid: str,
    storage: StorageSettings,
    *,
    server_id: str,
    namespace: str = "",
    owner: str | None = None,
    containers: int = 0,
) -> Document:
    """Return the secret of the pod with `pod_uid`, which owns it. Raises CannotRun where it would be too large.

    `owner` is the pod's name where it is another than the attempt's, as that of a Job's pod is. `containers`: see `jobs`.
    """
    data = items(attempt, plan, pod_uid, storage, containers)
    if why := secret_too_large(data):
        raise CannotRun(f"The task {why}.")
    pod = {"apiVersion": "v1", "kind": "Pod", "name": owner or pod_name(attempt), "uid": pod_uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": pod_name(attempt),
            **({"namespace": namespace} if namespace else {}),
            "labels": labels_of(attempt, server_id),
            "ownerReferences": [pod],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {key: b64encode(item).decode() for key, item in data.items()},
    }


def items(
    attempt: AttemptId, plan: Plan, pod_uid: str, storage: StorageSettings, containers: int = 0
) -> dict[str, bytes]:
    """Return the items of the secret as they are stored."""
    return {key: packed(job) for key, job in jobs(attempt, plan, pod_uid, storage, containers).items()}


def packed(job: Struct) -> bytes:
    """Return a job as an item of the secret: gzipped JSON, the same each time."""
    return gzip.compress(json.encode(job), compresslevel=6, mtime=0)


def secret_too_large(data: dict[str, bytes]) -> str | None:
    """Say that the items of a secret are more than Kubernetes takes; None where they fit."""
    size = sum(map(len, data.values()))
    if size <= LIMIT_BYTES:
        return None
    return (
        f"is too large for a pod: commands, environments, contents and URLs take {size} bytes, compressed, of the "
        f"{LIMIT_BYTES} that a Kubernetes secret may have; put contents and arguments into files that are inputs by URL"
    )


def pod_too_large(pod: bytes) -> str | None:
    """Say that a pod, as JSON, is more than Kubernetes stores; None where it fits."""
    if len(pod) <= POD_LIMIT_BYTES:
        return None
    return (
        f"is too large for a pod: its executors, each with all of its paths, take {len(pod)} bytes of the "
        f"{POD_LIMIT_BYTES} that there are; give it fewer executors, or paths in fewer folders"
    )
