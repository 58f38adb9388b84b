"""The backend of pods on the fake API server: its start and death, and what pods in it show."""

import asyncio
import contextlib
import json
from functools import partial
from pathlib import Path

from fakes.attempts import plan, shell
from fakes.kubernetes_api import KubernetesApi
from tesk.compute.backend import AttemptId
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.backend import KubernetesBackend
from tesk.compute.kubernetes.credentials import Access
from tesk.compute.kubernetes.kubeconfig import Cluster, User
from tesk.compute.kubernetes.settled import policy_of
from tesk.errors import TransferRefused
from tesk.pod import AttemptReport, ExecutorEnd
from tesk.settings import KubernetesSettings, StorageSettings
from tesk.storage.needed import needed
from tesk.transfer import TransferReport

PODS = Path(__file__).parents[1] / "compute/kubernetes/pods"
ATTEMPT = AttemptId("task1", 1)
NAME = str(ATTEMPT)
SETTINGS = KubernetesSettings(
    namespace="here", server_id="us", shim="copy", pod_resources="on", stager_image="stager", pending_limit=3
)
PLAN = plan(shell("true"))


async def same(image, caller):
    if image.startswith("trs://bad"):
        raise TransferRefused(f"{image}: is not there")
    return image


@contextlib.asynccontextmanager
async def opened(cluster, settings=SETTINGS, *, request_seconds=0.5, **more):
    """A server's backend, from its start to its death."""
    access = Access(Cluster(server=cluster.url), User(), "default")
    theirs = partial(needed, StorageSettings(), web_identity=False)
    api = Api(access, request_seconds=request_seconds)
    backend = KubernetesBackend(settings, policy_of(settings), theirs, same, api=api, **more)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


def story(body, settings=SETTINGS, **more):
    """Run `body(cluster, backend)` against a fake cluster."""

    async def whole():
        served = KubernetesApi().serving()
        async with asyncio.timeout(60), served as cluster, opened(cluster, settings, **more) as backend:
            await body(cluster, backend)

    asyncio.run(whole())


def show(cluster, name, *, attempt=ATTEMPT, **status):
    """Have a pod show what a real one did."""
    seen = json.loads((PODS / f"{name}.json").read_text())
    pod = cluster.objects["pods", "here", str(attempt)]
    cluster.put(
        "pods", "here", str(attempt), metadata=pod["metadata"], spec=seen["spec"], status=seen["status"] | status
    )


def report(cluster, *, attempt=ATTEMPT, code=0, stdout="out\n"):
    uid = cluster.objects["pods", "here", str(attempt)]["metadata"]["uid"]
    ends = (ExecutorEnd(index=0, exit_code=code, started=1.0, ended=2.0, stdout=stdout),)
    return AttemptReport(
        pod=uid, attempt=str(attempt), inputs=TransferReport(), executors=ends, outputs=TransferReport()
    )


def said(cluster, message):
    """Let the container `outputs` have ended with a message."""
    pod = cluster.objects["pods", "here", NAME]
    for each in pod["status"]["containerStatuses"]:
        if each["name"] == "outputs":
            each["state"]["terminated"]["message"] = message
    cluster.put("pods", "here", NAME, metadata=pod["metadata"], status=pod["status"])


async def until(backend, true, attempt=ATTEMPT):
    """Look at each change until something is true of what is seen."""
    changes = backend.changes()
    while not true(seen := await backend.observe(attempt)):
        await anext(changes)
    return seen


def ended(seen):
    return seen.phase.ended


async def known(backend, true, attempt=ATTEMPT):
    """Wait until something is true of the pod as the mirror has it."""
    changes = backend.changes()
    while (there := backend._pods.get(attempt)) is None or not true(there.pod):
        await anext(changes)


# -- begin ------------------------------------------------------------------------------------------------------------------
