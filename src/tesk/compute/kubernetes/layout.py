"""How a pod is laid out: names of its volumes, and where each is mounted. What a cluster can, and what is the same everywhere."""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tesk.settings import KubernetesSettings

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
TASK: Final = "tesk/task"
ATTEMPT: Final = "tesk/attempt"
SERVER: Final = "tesk/server"
FINALIZER: Final = "tesk/result"

OWN: Final = "/.tesk"
"""Where an executor sees what is ours."""
PREPARE: Final = "prepare"
"""The init container, where there is one."""

SHIM_IN_IMAGE: Final = "/shim/tesk-shim"
"""Where the shim lies in the stager's image."""


class Layout(Struct, frozen=True, kw_only=True):
    """What the cluster can. `image_volume`: an image as a volume; `image_subpath`: a folder of it alone; `pod_resources`: of the pod."""

    image_volume: bool = False
    image_subpath: bool = False
    pod_resources: bool = False

    @property
    def shim(self) -> str:
        """The shim, as an executor sees it."""
        whole = self.image_volume and not self.image_subpath
        return f"{OWN}/shim{SHIM_IN_IMAGE}" if whole else f"{OWN}/shim/tesk-shim"

    def sentence(self) -> str:
        """Say it to a person."""
        shim = "an image volume" if self.image_volume else "an init container"
        resources = "of pods" if self.pod_resources else "of containers"
        return f"The shim comes by {shim}; cores and memory are those {resources}."


NEWEST: Final = Layout(image_volume=True, image_subpath=True, pod_resources=True)
"""What Kubernetes 1.36 can."""


def chosen(settings: KubernetesSettings, can: Layout) -> Layout:
    """Return how pods are laid out in a cluster that can so much: as the settings say, else as it can."""
    if settings.shim != "auto":
        can = replace(can, image_volume=settings.shim == "image")
    if settings.pod_resources != "auto":
        can = replace(can, pod_resources=settings.pod_resources == "on")
    return can
