"""A pod that comes by a Job, as Kueue wants it. The test does what Kueue does: it lets the Job go."""

import contextlib

from msgspec.structs import replace

from fakes.manifests import ATTEMPT, SETTINGS, plan_of, pod_of
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.layout import NEWEST
from tesk.compute.kubernetes.manifests import job_manifest
from tesk.compute.kubernetes.objects import Bare, Pod
from tesk.compute.kubernetes.secret import secret_manifest
from tesk.compute.kubernetes.template import Document
from tesk.settings import StorageSettings

JOBS = {"group": "batch/v1"}
SELECTOR = f"tesk/task={ATTEMPT.task_id},tesk/attempt={ATTEMPT.number}"


def harmless(pod: Document) -> Document:
    """The same pod, whose containers do nothing, in an image that every node has."""
    spec = pod["spec"]
    idle = [{**each, "image": "busybox", "command": ["true"]} for each in spec["containers"]]
    volumes = [each if each["name"] != "shim" else {"name": "shim", "emptyDir": {}} for each in spec["volumes"]]
    for each in idle:
        each["volumeMounts"] = [mount for mount in each["volumeMounts"] if mount["name"] != "shim"]
    return {**pod, "spec": {**spec, "containers": idle, "volumes": volumes}}


async def run_by_a_job(api: Api, cluster) -> None:
    plan = plan_of(cores=0.05, ram=50_000_000)
    settings = replace(SETTINGS, namespace=cluster.namespace)
    job = job_manifest(harmless(pod_of(plan, settings, NEWEST)), "batch")
    name = str(ATTEMPT)
    await api.create(cluster.path("jobs", **JOBS), job, Bare)
    none, version = await api.list(cluster.path("pods"), Pod, selector=SELECTOR)
    assert none == []

    await api.patch(cluster.path("jobs", name, **JOBS), {"spec": {"suspend": False}}, Bare)
    events = api.watch(cluster.path("pods"), Pod, selector=SELECTOR, resource_version=version)
    async with contextlib.aclosing(events):
        pod = (await anext(events)).object
    assert pod.metadata.name.startswith(f"{name}-")
    assert "tesk/result" in pod.metadata.finalizers

    given = {"server_id": "here", "namespace": cluster.namespace, "owner": pod.metadata.name}
    secret = secret_manifest(ATTEMPT, plan, pod.metadata.uid, StorageSettings(), **given)
    await api.create(cluster.path("secrets"), secret, Bare)
    events = api.watch(cluster.path("pods"), Pod, selector=SELECTOR, resource_version=version)
    async with contextlib.aclosing(events):
        async for event in events:
            if event.object.status.phase == "Succeeded":
                break
    # A garbage collector that found no owner of that name would have swept it away by now.
    await api.get(cluster.path("secrets", name), Bare)

    await api.delete(cluster.path("jobs", name, **JOBS), propagation="Background")
    listed, version = await api.list(cluster.path("secrets"), Bare, selector=SELECTOR)
    assert len(listed) == 1
    await api.patch(cluster.path("pods", pod.metadata.name), {"metadata": {"finalizers": None}}, Bare)
    events = api.watch(cluster.path("secrets"), Bare, selector=SELECTOR, resource_version=version)
    async with contextlib.aclosing(events):
        async for event in events:
            if event.type == "DELETED":
                break


def test_a_jobs_pod_is_found_by_its_labels_and_its_secret_lives_as_long_as_it(cluster):
    cluster.run(lambda api: run_by_a_job(api, cluster))
