"""From a plan to the objects that Kubernetes is asked for. Pure: no clock, no cluster."""

from collections.abc import Mapping, Sequence
from posixpath import normpath

from tesk.compute.backend import AttemptId
from tesk.compute.kubernetes import layout as names
from tesk.compute.kubernetes.layout import Layout
from tesk.compute.kubernetes.policy import Asked
from tesk.compute.kubernetes.resources import PodResources, share
from tesk.compute.kubernetes.template import Document, merged
from tesk.compute.plan import Plan, Shared, SharedPath, Step
from tesk.errors import CannotRun
from tesk.pod import EXECUTOR, EXECUTOR_KEY, INPUTS, OUTPUTS, STAGER_KEY
from tesk.settings import KubernetesSettings

_IDENTITY = "/tesk/identity"
_TOKEN_SECONDS = 3600
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_STATUSES_BYTES = 16 * 1024 * 1024
_STATUS_BYTES = 256 * 1024


def pod_name(attempt: AttemptId) -> str:
    """The name of an attempt's pod, of its secret, and of its Job."""
    return str(attempt)


def labels_of(attempt: AttemptId, server_id: str) -> dict[str, str]:
    """Labels of all that is made for an attempt."""
    return {
        names.MANAGED_BY: "tesk",
        names.TASK: attempt.task_id,
        names.ATTEMPT: str(attempt.number),
        names.SERVER: server_id,
    }


def pod_manifest(
    attempt: AttemptId,
    plan: Plan,
    settings: KubernetesSettings,
    layout: Layout,
    asked: Asked,
    *,
    images: Mapping[int, str] | None = None,
) -> Document:
    """Return the pod of an attempt. `images`: those of executors that are called otherwise in the plan, by index.

    `asked` is what `Policy.asked` says. Raises CannotRun with the path that cannot be shown.
    """
    _check_paths(plan)
    size = max(plan.disk_bytes, round(asked.volume_gb * 1e9))
    limit = size or round(settings.disk_limit_gb * 1e9)
    work = _work(size, limit, settings, asked.storage_class or settings.storage_class)
    here = "emptyDir" in work
    resources = share(
        plan,
        settings,
        pod_resources=layout.pod_resources,
        node_disk_bytes=size if here else 0,
        node_limit_bytes=limit if here else 0,
        gpus=asked.gpus,
    )
    prepare = _prepare(plan, settings, layout, resources)
    spec: Document = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": settings.grace_seconds,
        "securityContext": _pod_security(settings),
        "tolerations": [
            {
                "key": f"node.kubernetes.io/{what}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": settings.node_lost_seconds,
            }
            for what in ("not-ready", "unreachable")
        ],
        **({"initContainers": [prepare]} if prepare else {}),
        "containers": [
            _stager(INPUTS, settings, resources.inputs.manifest(), made=_made_before(plan)),
            *(
                {
                    "name": EXECUTOR.format(step.index),
                    "image": (images or {}).get(step.index, step.image),
                    "resources": resources.executors[step.index].manifest(),
                    **_executor(plan, step, settings, layout),
                }
                for step in plan.steps
            ),
            _stager(OUTPUTS, settings, resources.outputs.manifest()),
        ],
        "volumes": [
            {"name": "work", **work},
            {"name": "control", "emptyDir": {"sizeLimit": str(_control_bytes(plan))}},
            {"name": "job", "secret": {"secretName": pod_name(attempt), "defaultMode": 0o444}},
            _shim_volume(settings, layout),
            *_identity_volume(settings),
        ],
    }
    if resources.pod is not None:
        spec["resources"] = resources.pod.manifest()
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    if settings.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    pod: Document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(attempt),
            "labels": labels_of(attempt, settings.server_id),
            "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
            "finalizers": [names.FINALIZER],
        },
        "spec": spec,
    }
    if asked.namespace:
        _part(pod, "metadata")["namespace"] = asked.namespace
    if asked.patches:
        pod = _patched(pod, asked.patches, plan)
    return in_zones(pod, settings.zone_label, asked.zones) if asked.zones else pod


def _patched(pod: Document, patches: Sequence[Document], plan: Plan) -> Document:
    """Merge patches in. Raises CannotRun where one of them mounts something else at a path of the task's."""
    patched = pod
    for patch in patches:
        patched = merged(patched, patch)
    wanted = [_shared_mount(plan, entry) for entry in plan.shared]
    for container in _containers(patched) if wanted else ():
        mounts = container.get("volumeMounts")
        assert isinstance(mounts, list)
        if not str(container["name"]).startswith("executor-"):
            continue
        if lost := next((mount for mount in wanted if mount not in mounts), None):
            raise CannotRun(
                f"{lost['mountPath']}: the settings mount something of their own there; use another folder."
            )
    return _with_one_source(patched)


def job_manifest(pod: Document, queue: str) -> Document:
    """Return the Job that Kueue lets a pod run by. It is made suspended, with a pod that is named otherwise than in `pod`."""
    metadata = _part(pod, "metadata")
    spec = dict(_part(pod, "spec"))
    inner = {key: value for key, value in metadata.items() if key in ("labels", "annotations", "finalizers")}
    labels = dict(_part(metadata, "labels"))
    whole = {key: value for key, value in metadata.items() if key in ("name", "namespace")}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**whole, "labels": {**labels, "kueue.x-k8s.io/queue-name": queue}},
        "spec": {
            "suspend": True,
            "completions": 1,
            "parallelism": 1,
            # Another attempt is ours to make, with a name and a TaskLog of its own.
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {"metadata": inner, "spec": spec},
        },
    }


def _executor(plan: Plan, step: Step, settings: KubernetesSettings, layout: Layout) -> Document:
    return {
        "imagePullPolicy": settings.pull_policy,
        "command": [layout.shim, "run"],
        "terminationMessagePolicy": "File",
        "securityContext": _executor_security(settings),
        "volumeMounts": [
            {"name": "shim", "mountPath": f"{names.OWN}/shim", "readOnly": True, **_shim_subpath(layout)},
            {"name": "control", "mountPath": f"{names.OWN}/run", "subPath": f"executors/{step.index}"},
            _job_mount(f"{names.OWN}/job/job", EXECUTOR_KEY.format(step.index)),
            *(_shared_mount(plan, entry) for entry in plan.shared),
        ],
    }


def _shared_mount(plan: Plan, entry: SharedPath) -> Document:
    made = workdir_made(plan, entry.path) if entry.kind is Shared.WORKDIR else None
    return {"name": "work", "mountPath": made or entry.path, "subPath": f"root{entry.path}"}


def workdir_made(plan: Plan, workdir: str | None) -> str | None:
    """Return the folder that stands for a working directory which the image may lack; None where none is needed."""
    places = [entry.path for entry in plan.shared if entry.kind is Shared.WORKDIR]
    normal = normpath(workdir) if workdir else None
    return f"{names.OWN}/workdir/{places.index(normal)}" if normal in places else None


def _made_before(plan: Plan) -> list[Document]:
    """Mounts of all folders that executors have, so that the kubelet makes them before `inputs` runs.

    Else both make them at the same moment: the kubelet takes a folder that comes to be under its hands for a fault, and
    tries again a second later.
    """
    folders = [("control", f"executors/{step.index}") for step in plan.steps]
    folders += [("work", f"root{each.path}") for each in plan.shared if each.kind in (Shared.FOLDER, Shared.WORKDIR)]
    return [
        {"name": volume, "mountPath": f"/tesk/folders/{number}", "subPath": path}
        for number, (volume, path) in enumerate(folders)
    ]


def _stager(name: str, settings: KubernetesSettings, resources: Document, *, made: Sequence[Document] = ()) -> Document:
    return {
        "name": name,
        "image": settings.stager_image,
        "imagePullPolicy": settings.pull_policy,
        "command": ["python", "-m", "tesk.stager.pod", name],
        "env": _identity_env(settings),
        "resources": resources,
        "terminationMessagePolicy": "File",
        "securityContext": _our_security(settings),
        "volumeMounts": [
            {"name": "work", "mountPath": "/tesk/work"},
            {"name": "control", "mountPath": "/tesk/control"},
            _job_mount(f"/tesk/job/{STAGER_KEY}", STAGER_KEY),
            *made,
            *([{"name": "identity", "mountPath": _IDENTITY, "readOnly": True}] if settings.identity_audience else []),
        ],
    }


def _prepare(plan: Plan, settings: KubernetesSettings, layout: Layout, resources: PodResources) -> Document | None:
    """Return the init container that copies the shim, and makes the files that are mounted by themselves."""
    files = [f"/tesk/work/root{path}" for path in singles(plan)]
    if layout.image_volume and not files:
        return None
    install = [] if layout.image_volume else ["--install", "/tesk/shim"]
    # Kubernetes takes $(X) for a variable and $$ for a dollar, in the names of files as well.
    words = [word.replace("$", "$$") for word in files]
    return {
        "name": names.PREPARE,
        "image": settings.stager_image,
        "imagePullPolicy": settings.pull_policy,
        "command": [names.SHIM_IN_IMAGE, "prepare", *install, *words],
        "resources": resources.prepare.manifest(),
        "terminationMessagePolicy": "File",
        "securityContext": _our_security(settings),
        "volumeMounts": [
            *([] if layout.image_volume else [{"name": "shim", "mountPath": "/tesk/shim"}]),
            *([{"name": "work", "mountPath": "/tesk/work"}] if files else []),
        ],
    }


def singles(plan: Plan) -> tuple[str, ...]:
    """Return the paths that are mounted as files, so they must be there before any container is made."""
    return tuple(entry.path for entry in plan.shared if entry.kind in (Shared.INPUT_FILE, Shared.OUTPUT_FILE))


# -- volumes --------------------------------------------------------------------------------------------------------------


def _work(size: int, limit: int, settings: KubernetesSettings, storage_class: str) -> Document:
    """Return the source of the volume that holds the task's data; `size` in bytes, 0 for not said, and the most it may have on a node."""
    if not storage_class and size <= settings.empty_dir_limit_gb * 1e9:
        return {"emptyDir": {"sizeLimit": str(limit)} if limit else {}}
    claim: Document = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(size or round(settings.volume_gb * 1e9))}},
    }
    if storage_class:
        claim["storageClassName"] = storage_class
    return {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}}


def _with_one_source(pod: Document) -> Document:
    """Let a patch that names an emptyDir (one in memory, say) have it, where the data would lie on a volume of a class."""
    volumes = _part(pod, "spec")["volumes"]
    assert isinstance(volumes, list)
    for place, volume in enumerate(volumes):
        if volume["name"] == "work" and {"emptyDir", "ephemeral"} <= volume.keys():
            volumes[place] = {key: value for key, value in volume.items() if key != "ephemeral"}
    return pod


def _control_bytes(plan: Plan) -> int:
    # Each stream's tail is a pair of files; statuses and turns are small.
    return _STATUSES_BYTES + len(plan.steps) * (4 * plan.tail_bytes + _STATUS_BYTES)


def _shim_volume(settings: KubernetesSettings, layout: Layout) -> Document:
    if layout.image_volume:
        return {"name": "shim", "image": {"reference": settings.stager_image, "pullPolicy": settings.pull_policy}}
    return {"name": "shim", "emptyDir": {"sizeLimit": str(_STATUSES_BYTES)}}


def _shim_subpath(layout: Layout) -> Document:
    return {"subPath": "shim"} if layout.image_volume and layout.image_subpath else {}


def _job_mount(path: str, key: str) -> Document:
    """One file of the secret alone."""
    return {"name": "job", "mountPath": path, "subPath": key, "readOnly": True}


def _identity_volume(settings: KubernetesSettings) -> list[Document]:
    """The token of the pod's service account for another audience than the API server: it opens nothing here."""
    if not settings.identity_audience:
        return []
    token = {"audience": settings.identity_audience, "expirationSeconds": _TOKEN_SECONDS, "path": "token"}
    return [{"name": "identity", "projected": {"sources": [{"serviceAccountToken": token}]}}]


def _identity_env(settings: KubernetesSettings) -> list[Document]:
    if not settings.identity_audience:
        return []
    said = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{_IDENTITY}/token",
        "AWS_ROLE_ARN": settings.identity_role,
        "AWS_ENDPOINT_URL_STS": settings.identity_endpoint,
    }
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in said.items() if value]


# -- security -------------------------------------------------------------------------------------------------------------


def _pod_security(settings: KubernetesSettings) -> Document:
    context: Document = {"seccompProfile": {"type": "RuntimeDefault"}}
    if settings.security == "restricted":
        user = settings.run_as_user
        context |= {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user}
        context["fsGroupChangePolicy"] = "OnRootMismatch"
    return context


def _our_security(settings: KubernetesSettings) -> Document:
    """Ours must read what any user id wrote with any umask, and nothing else."""
    context: Document = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    if settings.security == "baseline":
        context["capabilities"] = {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER"]}
        context |= {"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False}
    return context


def _executor_security(settings: KubernetesSettings) -> Document:
    dropped = "ALL" if settings.security == "restricted" else "NET_RAW"
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": [dropped]}}


# -- what cannot be -------------------------------------------------------------------------------------------------------


def in_zones(pod: Document, label: str, zones: tuple[str, ...]) -> Document:
    """Return a pod that runs in one of some zones alone, whatever else is asked of its node."""
    affinity = _at(_at(_part(pod, "spec"), "affinity"), "nodeAffinity")
    required = _at(affinity, _REQUIRED)
    terms = required.get("nodeSelectorTerms")
    here: Document = {"key": label, "operator": "In", "values": list(zones)}
    # Terms are alternatives: each of them must hold in these zones alone.
    narrowed = [
        {**term, "matchExpressions": [*(term.get("matchExpressions") or ()), here]}
        for term in (terms if isinstance(terms, list) else [])
        if isinstance(term, dict)
    ] or [{"matchExpressions": [here]}]
    inner = {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": narrowed}}}
    return merged(pod, {"spec": {"affinity": inner}})


def _containers(pod: Document) -> list[Document]:
    containers = _part(pod, "spec")["containers"]
    assert isinstance(containers, list)
    return containers


def _at(document: Document, key: str) -> Document:
    part = document.get(key)
    return part if isinstance(part, dict) else {}


def _check_paths(plan: Plan) -> None:
    for entry in plan.shared:
        if entry.path == names.OWN or entry.path.startswith(f"{names.OWN}/"):
            raise CannotRun(f"{entry.path} lies in {names.OWN}, which is TESK's own; use another folder.")


def _part(document: Document, key: str) -> Document:
    part = document[key]
    assert isinstance(part, dict)
    return part
