"""What a pod template and the patches of parameters may change, checked when the server starts. Pure.

What TESK lives by is not theirs: its containers' commands and mounts, the finalizer, the pod's name and end. What is left is
checked by name, so that a typing error is found now and not by every task.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

import yaml

from tesk.compute.kubernetes import layout as names
from tesk.compute.kubernetes.template import Document
from tesk.errors import StartError

_METADATA = frozenset({"labels", "annotations"})
_SPEC = frozenset(
    {
        "affinity", "containers", "dnsConfig", "dnsPolicy", "hostAliases", "hostUsers", "hostname", "imagePullSecrets",
        "initContainers", "nodeName", "nodeSelector", "os", "overhead", "preemptionPolicy", "priority", "priorityClassName",
        "readinessGates", "resourceClaims", "resources", "runtimeClassName", "schedulerName", "schedulingGates",
        "securityContext", "serviceAccountName", "setHostnameAsFQDN", "subdomain", "tolerations",
        "topologySpreadConstraints", "volumes",
    }
)  # fmt: skip
_SPEC_OURS: Mapping[str, str] = {
    "activeDeadlineSeconds": "time limits are kept by the server (limits.time_limit_seconds)",
    "automountServiceAccountToken": "no executor gets a token",
    "enableServiceLinks": "no executor gets the addresses of services",
    "ephemeralContainers": "a pod has its own containers alone",
    "hostIPC": "tasks do not share what is the node's",
    "hostNetwork": "tasks do not share what is the node's",
    "hostPID": "tasks do not share what is the node's",
    "restartPolicy": "a pod is one attempt",
    "shareProcessNamespace": "the stager must be out of executors' reach",
    "terminationGracePeriodSeconds": "set kubernetes.grace_seconds",
}
_CONTAINER = frozenset(
    {"name", "env", "envFrom", "imagePullPolicy", "resources", "securityContext", "volumeDevices", "volumeMounts"}
)
_CONTAINER_OURS: Mapping[str, str] = {
    "args": "commands are TESK's",
    "command": "commands are TESK's",
    "image": "an executor's image is its task's, and the stager's is kubernetes.stager_image",
    "lifecycle": "the server says when a container ends",
    "livenessProbe": "the server says when a container ends",
    "readinessProbe": "nothing asks a task whether it is ready",
    "restartPolicy": "a pod is one attempt",
    "startupProbe": "the server says when a container ends",
    "stdin": "streams are TESK's",
    "terminationMessagePath": "the report goes there",
    "terminationMessagePolicy": "the report goes there",
    "tty": "streams are TESK's",
    "workingDir": "a task says where it works",
}
_CONTAINERS = ("inputs", "outputs", "executor", "executor-*")
_VOLUMES = frozenset({"control", "job", "shim", "identity"})
_WORK = frozenset({"name", "emptyDir"})
_LISTS = frozenset(
    {"containers", "initContainers", "volumes", "imagePullSecrets", "tolerations", "hostAliases", "env", "envFrom",
     "volumeMounts", "volumeDevices", "topologySpreadConstraints", "schedulingGates", "readinessGates", "resourceClaims"}
)  # fmt: skip
_KEPT = frozenset({"containers", "volumes", "tolerations", "volumeMounts"})
_MAPS = frozenset(
    {"metadata", "spec", "labels", "annotations", "affinity", "dnsConfig", "nodeSelector", "os", "overhead", "resources",
     "securityContext"}
)  # fmt: skip


def read_template(text: str) -> Document:
    """Return the pod template that a text is, {} for none. Raises StartError with all that is wrong with it."""
    try:
        document = yaml.safe_load(text) if text.strip() else {}
    except yaml.YAMLError as error:
        raise StartError(f"kubernetes.pod_template: is neither YAML nor JSON: {error}") from error
    if not isinstance(document, dict):
        raise StartError("kubernetes.pod_template: must be an object with metadata, spec, or both")
    # A whole Pod is what people have at hand.
    if document.get("kind") == "Pod":
        document = {key: value for key, value in document.items() if key not in ("apiVersion", "kind")}
    check_patch(document, "kubernetes.pod_template")
    return document


def check_patch(patch: Mapping[str, object], where: str) -> None:
    """Raise StartError with all that a patch of a pod says and may not."""
    problems = [*_problems(patch)]
    if problems:
        raise StartError("\n".join(f"{where}: {problem}" for problem in problems))


def _problems(patch: Mapping[str, object]) -> Iterator[str]:
    for key, part in patch.items():
        if key not in ("metadata", "spec"):
            yield f"there is no {key}; a pod has metadata and spec"
        elif not isinstance(part, dict):
            yield f"{key} must be an object"
        else:
            yield from _metadata(part) if key == "metadata" else _spec(part)


def _metadata(metadata: Document) -> Iterator[str]:
    for key, part in metadata.items():
        if key not in _METADATA:
            yield f"metadata.{key} cannot be set; labels and annotations can"
        elif not isinstance(part, dict):
            yield f"metadata.{key} must be an object"
        else:
            for name, value in part.items():
                if str(name).startswith(("tesk/", "$")) or (key == "labels" and name == names.MANAGED_BY):
                    yield f"metadata.{key}.{name} is TESK's own"
                elif value is not None and not isinstance(value, str):
                    yield f"metadata.{key}.{name} must be a text: write it in quotes"


def _spec(spec: Document) -> Iterator[str]:
    yield from _fields(spec, "spec", _SPEC, _SPEC_OURS)
    for entry in _entries(spec, "containers"):
        name = str(entry.get("name", ""))
        if not any(fnmatchcase(name, known) for known in _CONTAINERS):
            yield (
                f"spec.containers: there is no container {name!r}; there are inputs, executor (all of them), executor-0 "
                "and so on, outputs; one that is to run beside them is an init container with restartPolicy Always"
            )
            continue
        yield from _container(entry, f"spec.containers[{name}]")
    for entry in _entries(spec, "initContainers"):
        if entry.get("name") == names.PREPARE:
            yield from _container(entry, f"spec.initContainers[{names.PREPARE}]")
        elif not entry.get("name"):
            yield "spec.initContainers: each must have a name"
    for entry in _entries(spec, "volumes"):
        name = str(entry.get("name", ""))
        odd = not entry.keys() <= _WORK or not isinstance(entry.get("emptyDir", {}), dict)
        if name in _VOLUMES or (name == "work" and odd):
            hint = "; of `work` emptyDir can be, storage classes are set by kubernetes.storage_class" * (name == "work")
            yield f"spec.volumes: {name} is TESK's own{hint}"
        elif not name:
            yield "spec.volumes: each must have a name"


def _container(container: Document, where: str) -> Iterator[str]:
    yield from _fields(container, where, _CONTAINER, _CONTAINER_OURS)
    for mount in _entries(container, "volumeMounts"):
        path = str(mount.get("mountPath", ""))
        if any(path == own or path.startswith(f"{own}/") for own in (names.OWN, "/tesk")) or not path:
            yield f"{where}.volumeMounts: {path or 'a mount without mountPath'} cannot be; /.tesk and /tesk are TESK's own"
        elif mount.get("name") in _VOLUMES:
            yield f"{where}.volumeMounts: the volume {mount['name']} is TESK's own"


def _fields(part: Document, where: str, known: frozenset[str], ours: Mapping[str, str]) -> Iterator[str]:
    for key, value in part.items():
        if key in ours:
            yield f"{where}.{key} cannot be set: {ours[key]}"
        elif key not in known:
            yield f"{where}.{key}: there is no such field, or it cannot be set"
        elif value is None and key in _KEPT:
            yield f"{where}.{key} cannot be taken away"
        elif value is not None and key in _LISTS and not (isinstance(value, list) and _are_objects(value)):
            yield f"{where}.{key} must be a list of objects"
        elif value is not None and key in _MAPS and not isinstance(value, dict):
            yield f"{where}.{key} must be an object"


def _entries(part: Document, key: str) -> Iterator[Document]:
    value = part.get(key)
    if isinstance(value, list) and _are_objects(value):
        yield from value


def _are_objects(entries: list[object]) -> bool:
    return all(isinstance(entry, dict) for entry in entries)
