"""Find out what a cluster can, by asking it to make a pod and not meaning it. Acts."""

import re
from typing import Final

from msgspec import Struct

from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.layout import Layout
from tesk.compute.kubernetes.objects import path_of
from tesk.compute.kubernetes.refusals import Invalid, Refused
from tesk.errors import BackendUnavailable
from tesk.settings import KubernetesSettings

_SUBPATH_SINCE: Final = (1, 33)
_FORCED: Final = {"image": True, "copy": False, "on": True, "off": False}


class _Version(Struct, frozen=True):
    major: str = ""
    minor: str = ""


class _Volume(Struct, frozen=True):
    name: str = ""
    image: dict[str, object] | None = None


class _Spec(Struct, frozen=True):
    volumes: tuple[_Volume, ...] = ()
    resources: dict[str, object] | None = None


class _Tried(Struct, frozen=True):
    spec: _Spec = _Spec()


async def detect_layout(api: Api, namespace: str, settings: KubernetesSettings) -> Layout:
    """Return what the cluster can; the settings force either way. Raises BackendUnavailable."""
    image_volume, pod_resources = _FORCED.get(settings.shim), _FORCED.get(settings.pod_resources)
    if image_volume is None:
        image_volume = await _takes(api, namespace, settings, image_volume=True)
    if pod_resources is None:
        pod_resources = await _takes(api, namespace, settings, image_volume=False)
    return Layout(
        image_volume=image_volume,
        image_subpath=image_volume and await _version(api) >= _SUBPATH_SINCE,
        pod_resources=pod_resources,
    )


async def _takes(api: Api, namespace: str, settings: KubernetesSettings, *, image_volume: bool) -> bool:
    """Say whether a field comes back. A server that does not know it, or has it switched off, drops it or says no."""
    # A LimitRange may want a least amount of every container.
    least = {
        "cpu": str(max(0.001, settings.least_cpu_cores)),
        "memory": str(max(1024 * 1024, round(settings.least_ram_gb * 1e9))),
    }
    amounts = {"requests": least, "limits": least}
    security: dict[str, object] = {
        "runAsNonRoot": True,
        "runAsUser": settings.run_as_user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container: dict[str, object] = {
        "name": "try",
        "image": settings.stager_image,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": amounts,
    }
    spec: dict[str, object] = {"restartPolicy": "Never", "containers": [container], "securityContext": security}
    if image_volume:
        spec["volumes"] = [{"name": "shim", "image": {"reference": settings.stager_image}}]
    else:
        spec["resources"] = amounts
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "tesk-try-"}, "spec": spec}
    try:
        tried = await api.create(path_of("pods", namespace), pod, _Tried, dry_run=True)
    except Invalid:
        return False
    except Refused as error:
        # A quota that is used up says nothing of what the cluster can; another time it does.
        raise BackendUnavailable(f"The cluster does not let a pod be tried: {error}") from error
    if image_volume:
        return any(volume.name == "shim" and volume.image is not None for volume in tried.spec.volumes)
    return bool(tried.spec.resources)


async def _version(api: Api) -> tuple[int, int]:
    said = await api.get("/version", _Version)
    digits = [re.match(r"\d+", part) for part in (said.major, said.minor)]
    return (int(digits[0][0]), int(digits[1][0])) if digits[0] and digits[1] else (0, 0)
