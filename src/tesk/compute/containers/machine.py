"""What all attempts in containers are given: the engine, images, and who brings inputs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tesk.compute.containers.engine import Engine
from tesk.compute.containers.images import Images
from tesk.compute.containers.removal import Removal
from tesk.settings import ContainersSettings
from tesk.transfer import Stager

Resolve = Callable[[str, str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Machine:
    """What every attempt is given. `label` tells our containers from others', `prefix` begins their names.

    `folder` is where attempts lie, as people call it.

    `resolve` gives the image that another kind of name stands for to a caller, and any other name as it is.
    """

    settings: ContainersSettings
    engine: Engine
    resolve: Resolve
    images: Images
    removal: Removal
    stager: Stager
    label: str
    prefix: str
    folder: str
    notes: tuple[str, ...]
