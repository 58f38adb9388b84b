"""What can be set of the backend `containers`."""

from typing import Annotated, Literal

from tesk.settings.kinds import says
from tesk.settings.machine import MachineSettings


class ContainersSettings(MachineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backend `containers`: the task's image, by podman or docker."""

    engine: Annotated[
        str, says("`podman`, `docker`, or the path of one of them. `auto`: podman where it is there, else docker.")
    ] = "auto"
    pull: Annotated[
        Literal["missing", "always", "never"],
        says("When images are fetched from their registry: if this machine has none, for each attempt, or never."),
    ] = "missing"
    network: Annotated[
        Literal["nat", "off", "host"],
        says(
            "`nat`: the engine's own network, with this machine's addresses out of reach by podman. `host` lets executors "
            "reach this server and the host's loopback."
        ),
    ] = "nat"
    user: Annotated[
        str,
        says(
            "As whom executors run in their containers (`1000:1000`, or a name that the image has). Not given: as the "
            "image says."
        ),
    ] = ""
    capabilities: Annotated[
        tuple[str, ...], says("What is left to root in a container; all other capabilities are dropped.")
    ] = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID", "SYS_CHROOT")
    gpus: Annotated[
        tuple[str, ...],
        says(
            "CDI names of the devices that tasks may ask for by `gpu_count` (`nvidia.com/gpu=0`); each is given to one task "
            "at a time."
        ),
    ] = ()
