"""The command line that runs one executor in a container. Pure."""

from collections.abc import Iterable, Sequence
from posixpath import dirname

from msgspec import Struct

from tesk.compute.plan import Plan, Step
from tesk.errors import CannotRun
from tesk.settings import ContainersSettings


class Facts(Struct, frozen=True, kw_only=True):
    """What an engine is and can do here.

    `controllers` are the control groups that it may use, `cores` what the machine has. `init`: it has a first process for
    containers, which passes signals on and buries what is left to it. `images_file` changes whenever an image comes or
    goes; None where there is none to look at. `rootless_network` is what gives containers of a user a way out.
    """

    kind: str
    version: str
    rootless: bool
    controllers: frozenset[str]
    cores: int
    init: bool
    rootless_network: str = "slirp4netns"
    images_file: str | None = None


class Bind(Struct, frozen=True):
    """A folder or file of this machine, and where it is seen."""

    source: str
    target: str


class Container(Struct, frozen=True, kw_only=True):
    """What is to be run. `own` is the folder of the executor's own files, `hooks` are options of podman itself."""

    name: str
    image: str
    labels: dict[str, str]
    own: str
    binds: tuple[Bind, ...]
    user: str
    devices: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    token: str | None = None


def run_arguments(
    container: Container, plan: Plan, step: Step, settings: ContainersSettings, facts: Facts
) -> list[str]:
    """Return the words after the engine's name. The program's streams are those that the engine is given."""
    podman = facts.kind == "podman"
    words = ["--log-level", "error", *container.hooks] if podman else []
    words += (
        "run",
        "--name",
        container.name,
        "--pull",
        "never",
        "--sig-proxy=false",
        "--entrypoint",
        "",
        "--no-healthcheck",
    )
    for label, value in container.labels.items():
        words += ("--label", f"{label}={value}")
    if podman:
        # The program writes to our files itself, so nothing depends on who else lives.
        # A program called `init` is a program like any other.
        words += ("--log-driver", "passthrough", "--http-proxy=false", "--systemd=false")
        words += ("--conmon-pidfile", f"{container.own}/conmon", "--pidfile", f"{container.own}/pid")
    else:
        words += ("--interactive", "--log-opt", "max-size=10m", "--cidfile", f"{container.own}/id")
    if facts.init:
        words.append("--init")
    words += ("--cap-drop", "all", "--security-opt", "no-new-privileges", "--security-opt", "label=disable")
    for capability in settings.capabilities:
        words += ("--cap-add", capability)
    words += ("--network", network_of(settings.network, facts))
    words += _limits(plan, settings, facts)
    for device in container.devices:
        words += ("--device", device)
    if container.user:
        words += ("--user", container.user)
    words += ("--env-file", f"{container.own}/environment")
    if container.token is not None:
        words += ("--env", container.token)
    if step.workdir is not None:
        words += ("--workdir", step.workdir)
    for bind in container.binds:
        words += _bind(bind)
    return [*words, container.image, *step.command]


def binds(plan: Plan, root: str, *, left_out: Iterable[str] = ()) -> tuple[Bind, ...]:
    """Return what an executor sees of its task's folders, but for paths that its image has itself.

    What lies in a shared folder is seen there. Raises CannotRun for a path that no option of an engine can hold.
    """
    skipped = frozenset(left_out)
    shown: set[str] = set()
    found: list[Bind] = []
    for entry in plan.shared:
        if entry.path not in skipped and not _covered(entry.path, shown):
            shown.add(entry.path)
            found.append(Bind(root + entry.path, entry.path))
    for bind in found:
        _bind(bind)
    return tuple(found)


def _bind(bind: Bind) -> tuple[str, str]:
    # One option parts its words by colons, the other by commas.
    if ":" not in bind.source + bind.target:
        return "--volume", f"{bind.source}:{bind.target}:rw"
    if not any(character in bind.source + bind.target for character in ',"\n\r'):
        return "--mount", f"type=bind,source={bind.source},destination={bind.target}"
    raise CannotRun(f"{bind.target}: a path with these characters cannot be shown in a container.")


def network_of(mode: str, facts: Facts) -> str:
    """Return the engine's word for a network of the settings."""
    if mode == "nat":
        # As podman does by itself. With docker it is the name of its own network.
        return facts.rootless_network if facts.kind == "podman" and facts.rootless else "bridge"
    return "none" if mode == "off" else mode


def _limits(plan: Plan, settings: ContainersSettings, facts: Facts) -> Sequence[str]:
    words: list[str] = []
    if "pids" in facts.controllers:
        words += ("--pids-limit", str(settings.processes_limit))
    if "memory" in facts.controllers and plan.ram_bytes:
        # As much with swap as without: no more of it.
        words += ("--memory", f"{plan.ram_bytes}b", "--memory-swap", f"{plan.ram_bytes}b")
    if "cpu" in facts.controllers and 0 < plan.cpu_cores < facts.cores:
        words += ("--cpus", f"{max(plan.cpu_cores, 0.01):.2f}")
    if plan.ram_bytes:
        words += ("--shm-size", f"{plan.ram_bytes}b")
    return words


def _covered(path: str, shown: set[str]) -> bool:
    while path not in shown:
        if path == "/":
            return False
        path = dirname(path)
    return True
