"""Pods made, watched and removed by a bare loop: what a cluster does without us."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.credentials import find
from tesk.compute.kubernetes.objects import Bare, Pod, path_of

ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace of the cluster that KUBECONFIG names."""

    namespace: str

    def pods(self, manifests: Sequence[Mapping[str, Any]]) -> float:
        """Make all pods at once; return the seconds until the last one has ended, seen in a watch. Then remove them."""
        return asyncio.run(self._pods(manifests))

    async def _pods(self, manifests: Sequence[Mapping[str, Any]]) -> float:
        path = path_of("pods", self.namespace)
        async with Api(find()) as api:
            _, version = await api.list(path, Pod, selector="bench=bare")
            waited = {manifest["metadata"]["name"] for manifest in manifests}
            begun = time.perf_counter()
            making = asyncio.gather(*(api.create(path, manifest, Bare) for manifest in manifests))
            async for event in api.watch(path, Pod, selector="bench=bare", resource_version=version):
                if event.object.status.phase in ENDED:
                    waited.discard(event.object.metadata.name)
                if not waited:
                    break
            seconds = time.perf_counter() - begun
            await making
            names = [manifest["metadata"]["name"] for manifest in manifests]
            await asyncio.gather(
                *(api.delete(path_of("pods", self.namespace, name), grace_seconds=0) for name in names)
            )
            return seconds


def bare(name: str, *containers: Mapping[str, Any], **spec: object) -> dict[str, Any]:
    """A pod of these containers, with nothing that it need not have."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"bench": "bare"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": list(containers),
            **spec,
        },
    }


def container(name: str, image: str, *command: str) -> dict[str, Any]:
    """A container that runs a command of an image that the node has."""
    return {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": list(command)}
