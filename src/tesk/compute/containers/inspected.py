"""What podman and docker print of themselves, of images and of containers, as far as we read it."""

from datetime import UTC, datetime

import msgspec
from msgspec import Struct

_NEVER = datetime(1, 1, 1, tzinfo=UTC)


class Config(Struct):
    """What an image or a container is made to be."""

    workdir: str = msgspec.field(default="", name="WorkingDir")
    user: str = msgspec.field(default="", name="User")
    labels: dict[str, str] | None = msgspec.field(default=None, name="Labels")


class InspectedImage(Struct):
    """`image inspect`."""

    id: str = msgspec.field(name="Id")
    digest: str = msgspec.field(default="", name="Digest")
    digests: tuple[str, ...] | None = msgspec.field(default=None, name="RepoDigests")
    config: Config | None = msgspec.field(default=None, name="Config")

    @property
    def repo_digests(self) -> tuple[str, ...]:
        """What its registries know it by."""
        return self.digests or ()


class _State(Struct):
    status: str = msgspec.field(name="Status")
    exit_code: int = msgspec.field(default=0, name="ExitCode")
    out_of_memory: bool = msgspec.field(default=False, name="OOMKilled")
    started: datetime = msgspec.field(default=_NEVER, name="StartedAt")
    finished: datetime = msgspec.field(default=_NEVER, name="FinishedAt")
    monitor: int = msgspec.field(default=0, name="ConmonPid")


class _Driver(Struct):
    data: dict[str, str] | None = msgspec.field(default=None, name="Data")


class InspectedContainer(Struct):
    """`container inspect`."""

    name: str = msgspec.field(name="Name")
    state: _State = msgspec.field(name="State")
    config: Config = msgspec.field(name="Config")
    driver: _Driver = msgspec.field(default_factory=_Driver, name="GraphDriver")


class _Security(Struct):
    rootless: bool = False


class _Host(Struct):
    controllers: tuple[str, ...] | None = msgspec.field(default=None, name="cgroupControllers")
    cpus: int = 0
    rootless_network: str = msgspec.field(default="", name="rootlessNetworkCmd")
    security: _Security = msgspec.field(default_factory=_Security)


class _Store(Struct):
    graph: str = msgspec.field(default="", name="graphRoot")
    driver: str = msgspec.field(default="", name="graphDriverName")


class _Version(Struct):
    version: str = msgspec.field(default="", name="Version")


class PodmanInfo(Struct):
    """`podman info`."""

    host: _Host
    store: _Store
    version: _Version


class _Commit(Struct):
    id: str = msgspec.field(default="", name="ID")


class DockerInfo(Struct):
    """`docker info`."""

    version: str = msgspec.field(default="", name="ServerVersion")
    security: tuple[str, ...] | None = msgspec.field(default=None, name="SecurityOptions")
    memory: bool = msgspec.field(default=False, name="MemoryLimit")
    cpu: bool = msgspec.field(default=False, name="CpuCfsQuota")
    pids: bool = msgspec.field(default=False, name="PidsLimit")
    cpus: int = msgspec.field(default=0, name="NCPU")
    init: _Commit = msgspec.field(default_factory=_Commit, name="InitCommit")
    errors: tuple[str, ...] | None = msgspec.field(default=None, name="ServerErrors")
