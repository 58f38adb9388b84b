"""Kubernetes' objects as values: the few fields of each that are read. Pure.

Every field has a default: what an API server leaves out (a bookmark is an object with nothing but its version) is read
all the same. Times are as they come, `datetime` in UTC. The names are those of the Kubernetes API.
"""

from datetime import datetime
from sys import intern
from typing import Final, Generic, Protocol, TypeVar
from urllib.parse import quote

from msgspec import Raw, Struct
from msgspec.structs import force_setattr

T = TypeVar("T")

CONDITIONS: Final = frozenset({"DisruptionTarget", "PodScheduled"})
"""Those of a pod's conditions that are read."""
OURS: Final = "tesk/"
"""How the names of those of a pod's annotations begin that are read; what networks and meshes write there is none of them."""
_SHORT = 4


class Meta(Struct, frozen=True, rename="camel", gc=False):
    """What every object says of itself. `resource_version` is another one after each change, and says nothing else."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()


class Object(Protocol):
    """Anything that has a name in a cluster."""

    @property
    def metadata(self) -> Meta:
        """Its name, uid, version, labels."""


class Condition(Struct, frozen=True, rename="camel", gc=False):
    """One of the things that hold of a pod, or do not, and since when."""

    type: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None
    last_transition_time: datetime | None = None


class Waiting(Struct, frozen=True, gc=False):
    """A container that does not run yet, and why."""

    reason: str | None = None
    message: str | None = None


class Running(Struct, frozen=True, rename="camel", gc=False):
    """A container that runs."""

    started_at: datetime | None = None


class Terminated(Struct, frozen=True, rename="camel", gc=False):
    """A container that ran. `message` is what it left as its termination message."""

    exit_code: int = 0
    signal: int | None = None
    reason: str | None = None
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class ContainerState(Struct, frozen=True, gc=False):
    """One of three; none of them: it waits, and nobody says why."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(Struct, frozen=True, rename={"image_id": "imageID", "restart_count": "restartCount"}, gc=False):
    """One container, by its name: others than ours may stand beside it."""

    name: str = ""
    state: ContainerState = ContainerState()
    image_id: str = ""
    restart_count: int = 0


class Present(Struct, frozen=True, gc=False):
    """Something of which nothing is read but that it is there."""


class PodSpec(Struct, frozen=True, rename="camel", gc=False):
    """Where a pod is, and how many containers it has, with those that others put into it."""

    node_name: str = ""
    containers: tuple[Present, ...] = ()
    init_containers: tuple[Present, ...] = ()


class PodStatus(Struct, frozen=True, rename="camel", gc=False):
    """What was seen of a pod. `reason` and `message` are those of an eviction or of a lost node."""

    phase: str = ""
    reason: str | None = None
    message: str | None = None
    start_time: datetime | None = None
    conditions: tuple[Condition, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Struct, frozen=True, gc=False):
    """A pod, as it is kept for each of ten thousand: without the conditions and annotations that nobody reads (`CONDITIONS`, `OURS`)."""

    metadata: Meta = Meta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    def __post_init__(self) -> None:
        """Keep once what is the same in many; nobody else has seen these values yet."""
        meta, status = self.metadata, self.status
        _once(meta, "namespace", meta.namespace)
        for name, value in meta.labels.items():
            if value not in meta.name or len(value) < _SHORT:
                meta.labels[name] = intern(value)
        if meta.annotations:
            ours = {intern(name): intern(value) for name, value in meta.annotations.items() if name.startswith(OURS)}
            force_setattr(meta, "annotations", ours)
        if meta.finalizers:
            force_setattr(meta, "finalizers", tuple([intern(each) for each in meta.finalizers]))
        _once(self.spec, "node_name", self.spec.node_name)
        force_setattr(self.spec, "containers", (_PRESENT,) * len(self.spec.containers))
        force_setattr(self.spec, "init_containers", (_PRESENT,) * len(self.spec.init_containers))
        _once(status, "phase", status.phase)
        if status.conditions:
            force_setattr(status, "conditions", tuple([each for each in status.conditions if each.type in CONDITIONS]))
            for condition in status.conditions:
                _once(condition, "type", condition.type)
                _once(condition, "status", condition.status)
        for container in status.container_statuses:
            _once(container, "name", container.name)
            _once(container, "image_id", container.image_id)


_PRESENT: Final = Present()


def _once(value: Struct, name: str, text: str) -> None:
    if text:
        force_setattr(value, name, intern(text))


class Bare(Struct, frozen=True, gc=False):
    """An object of which only the name, uid and labels matter: a secret, a namespace, a job."""

    metadata: Meta = Meta()


class Involved(Struct, frozen=True, rename="camel", gc=False):
    """Which object an event is about. `field_path` names a container: `spec.containers{executor-0}`."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    field_path: str = ""


class Event(Struct, frozen=True, rename="camel", gc=False):
    """What a scheduler, a kubelet or a volume driver tells people. `count`: how often it was said."""

    metadata: Meta = Meta()
    involved_object: Involved = Involved()
    type: str = ""
    reason: str = ""
    message: str = ""
    count: int | None = None
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None


class Cause(Struct, frozen=True, gc=False):
    """One thing that is wrong with an object: which field, and how."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(Struct, frozen=True, rename="camel", gc=False):
    """What a Status is about."""

    name: str = ""
    kind: str = ""
    causes: tuple[Cause, ...] | None = None
    retry_after_seconds: int | None = None


class Status(Struct, frozen=True, gc=False):
    """How an API server says no."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: Details | None = None


class ListMeta(Struct, frozen=True, rename={"resource_version": "resourceVersion", "go_on": "continue"}, gc=False):
    """Which version of all a list shows; `go_on` asks for its next page."""

    resource_version: str = ""
    go_on: str = ""


class Page(Struct, Generic[T], frozen=True):
    """Some of what a list holds."""

    metadata: ListMeta = ListMeta()
    items: list[T] | None = None


class Line(Struct, frozen=True):
    """One line of a watch; `object` is read when its type is known."""

    type: str
    object: Raw


class Marked(Struct, frozen=True):
    """What counts of a bookmark's object."""

    metadata: Raw = Raw(b"{}")


class WatchEvent(Struct, Generic[T], frozen=True):
    """What a watch says: ADDED, MODIFIED, DELETED, or BOOKMARK, whose object has only its `resource_version`."""

    type: str
    object: T


class Rule(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Who may do what: the verb, the group (empty for the core), the resource and its part (`log` of pods)."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        part = f"/{self.subresource}" if self.subresource else ""
        return f"{self.verb} {self.resource}{part}{'.' + self.group if self.group else ''}"


def path_of(resource: str, namespace: str = "", name: str = "", *, group: str = "v1", part: str = "") -> str:
    """Return where `resource` (plural) is: one namespace's or everybody's, one of a name or all. `group`: `batch/v1`, `v1`."""
    words = ["/apis" if "/" in group else "/api", group]
    if namespace:
        words += ["namespaces", quote(namespace, safe="")]
    words.append(resource)
    if name:
        words.append(quote(name, safe=""))
    if part:
        words.append(part)
    return "/".join(words)


def rule_of(verb: str, path: str) -> Rule:
    """Return what must be allowed for a call of `verb` at `path`."""
    words = path.partition("?")[0].strip("/").split("/")
    group = words[1] if words[0] == "apis" else ""
    rest = words[3:] if words[0] == "apis" else words[2:]
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    return Rule(verb, rest[0] if rest else "", group, rest[2] if len(rest) > 2 else "")
