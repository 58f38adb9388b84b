"""The images of `make images` in a cluster that allows nothing: any user, a read-only root, no capability."""

import contextlib
import os

import pytest

from cluster.attempts import NEVER_PULLED, STAGER
from cluster.conftest import Cluster
from tesk import __version__
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.objects import Bare, Pod, path_of

SERVER = os.environ.get("SERVER_IMAGE", f"docker.io/tesk/server:{__version__}")


def container(name: str, image: str, **more: object) -> dict[str, object]:
    nothing = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    user = {} if name == "own-user" else {"runAsUser": 4711}
    return {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "securityContext": nothing | user, **more}


def manifest(*containers: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "images"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": containers,
        },
    }


def test_both_images_run_as_any_user_where_pod_security_is_restricted(cluster: Cluster) -> None:
    async def body(api: Api) -> None:
        label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
        await api.patch(path_of("namespaces", name=cluster.namespace), label, Bare)
        asked = manifest(
            container("own-user", SERVER, args=["--version"]),
            container("any-user", SERVER, args=["--version"]),
            container("stager", STAGER, command=["python", "-m", "tesk.stager.pod"]),
            container("copied", STAGER, command=["/shim/tesk-shim", "version"]),
        )
        assert await ended(api, cluster, asked) == {"own-user": 0, "any-user": 0, "stager": 2, "copied": 0}
        printed = {name: await log(api, cluster, name) for name in ("own-user", "any-user", "stager", "copied")}
        assert printed["own-user"] == printed["any-user"] == f"tesk {__version__}\n"
        assert printed["stager"].startswith("usage: python -m tesk.stager.pod")
        assert printed["copied"] == f"tesk-shim {__version__}, protocol 1\n"

    cluster.run(body)


async def ended(api: Api, cluster: Cluster, asked: dict[str, object]) -> dict[str, int]:
    """Run a pod to its end and return the exit codes of its containers; skip where the node has no such image."""
    made = await api.create(cluster.path("pods"), asked, Pod)
    pods = api.watch(cluster.path("pods"), Pod, selector="", resource_version=made.metadata.resource_version)
    async with contextlib.aclosing(pods) as events:
        async for event in events:
            status = event.object.status
            for one in status.container_statuses:
                if one.state.waiting and one.state.waiting.reason in NEVER_PULLED:
                    pytest.skip(f"the node has no image for {one.name}: make images, and give it to the node")
            if status.phase in {"Succeeded", "Failed"}:
                return {
                    one.name: one.state.terminated.exit_code
                    for one in status.container_statuses
                    if one.state.terminated
                }
    raise AssertionError("the watch ended")


async def log(api: Api, cluster: Cluster, name: str) -> str:
    return b"".join([piece async for piece in api.logs(cluster.namespace, "images", name)]).decode()
