"""What can be set of the backend `kubernetes`: where pods run, of what they are made, and what tasks may ask of them."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tesk import __version__
from tesk.settings.kinds import Amount, Positive, Seconds, says

Patch = dict[str, object]
"""A part of a pod, as in a manifest; `$value` in its texts stands for what the task asks for."""


class ParameterRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backend parameter that tasks may give, and what it does to their pods. Several rules may have one name."""

    name: Annotated[
        str, says("Key in `resources.backend_parameters`, such as `runtime_class`; letters compare without case.")
    ]
    values: Annotated[
        tuple[str, ...], says("Values that may be asked for; `*` and `?` stand for letters. Empty: any.")
    ] = ()
    callers: Annotated[tuple[str, ...], says("Who may use it; empty: everybody.")] = ()
    patch: Annotated[
        Patch,
        says(
            "What is merged into the pod: `metadata` (labels, annotations), `spec`, and what is no part of a pod: `queue`, "
            "`storage_class`, `volume_gb`. `$value` stands for the value."
        ),
    ]


class TagNamespace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tag that sends tasks to a namespace. A task with such a tag and another value is refused."""

    tag: Annotated[str, says("Key of the tag, such as `project`.")]
    value: Annotated[str, says("Its value.")]
    namespace: Annotated[str, says("Where tasks with it run.")]
    callers: Annotated[tuple[str, ...], says("Who may use it; empty: everybody.")] = ()


class KubernetesSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backend `kubernetes`: a pod for each attempt."""

    kubeconfig: Annotated[
        str,
        says("Path of a kubeconfig. Not given: KUBECONFIG, else `~/.kube/config`, else the pod's own service account."),
    ] = ""
    context: Annotated[str, says("Context of the kubeconfig. Not given: its current one.")] = ""
    namespace: Annotated[
        str, says("Where pods run. Not given: the server's own namespace, or that of the context, else `default`.")
    ] = ""
    namespaces: Annotated[
        dict[str, str], says('Other namespaces for some callers: `{ alice = "alice-tasks" }`; each may have its quota.')
    ] = {}
    tag_namespaces: Annotated[
        tuple[TagNamespace, ...], says("Other namespaces by tag, for the values that are listed.")
    ] = ()
    server_id: Annotated[
        str,
        says(
            "Label `tesk/server` of all that this installation makes: servers with different ones in a namespace leave each "
            "other's pods alone. Not given: made of the database's place."
        ),
    ] = ""
    stager_image: Annotated[
        str, says("Image with the stager and the shim, of the server's own version: `make images` makes it.")
    ] = f"tesk/stager:{__version__}"
    pull_policy: Annotated[
        Literal["IfNotPresent", "Always", "Never"], says("When nodes fetch images from their registry.")
    ] = "IfNotPresent"
    pull_secrets: Annotated[
        tuple[str, ...], says("Secrets of the pods' namespace with the credentials of registries.")
    ] = ()
    shim: Annotated[
        Literal["auto", "image", "copy"],
        says(
            "How the shim comes into executors: by an image volume, or copied by an init container, a second slower. "
            "`auto`: by an image volume where the cluster has them."
        ),
    ] = "auto"
    pod_resources: Annotated[
        Literal["auto", "on", "off"],
        says(
            "Whether cores and memory are asked for by the pod, or by one of its containers. `auto`: as the cluster can."
        ),
    ] = "auto"
    security: Annotated[
        Literal["baseline", "restricted"],
        says("Which Pod Security Standard pods keep. `restricted`: executors are `run_as_user`, never root."),
    ] = "baseline"
    run_as_user: Annotated[
        int, Meta(ge=1, le=2**31 - 1), says("User and group id of all containers where `security` is `restricted`.")
    ] = 65532
    service_account: Annotated[str, says("Service account of pods. Its token is not mounted.")] = ""
    identity_audience: Annotated[
        str,
        says(
            'For `role = "web-identity"` in `storage.s3`: audience of the token of the pod\'s service account that is given '
            "to the stager, and not to executors; at Amazon `sts.amazonaws.com`."
        ),
    ] = ""
    identity_role: Annotated[str, says("The role that the token stands for, `arn:aws:iam::...`.")] = ""
    identity_endpoint: Annotated[str, says("Token service. Not given: Amazon's for the region.")] = ""
    stager_cpu_cores: Annotated[Amount, says("Cores that a pod asks for beyond what its task does.")] = 0.1
    stager_cpu_limit_cores: Annotated[
        Amount,
        says(
            "Cores that the stager may use before and after the executors, which then use none, of a task that has fewer. "
            "A quota of `limits.cpu` counts them."
        ),
    ] = 1.0
    stager_ram_gb: Annotated[
        Annotated[float, Meta(ge=0.05)], says("Memory of the stager, beyond what the task asks for, in 10^9 bytes.")
    ] = 0.3
    least_cpu_cores: Annotated[
        Amount, says("Cores that every container asks for at least, where a LimitRange has a `min`.")
    ] = 0.0
    least_ram_gb: Annotated[Amount, says("Memory that every container asks for at least, likewise, in 10^9 bytes.")] = (
        0.0
    )
    empty_dir_limit_gb: Annotated[
        Amount,
        says(
            "Largest `disk_gb` that lies on the node's own disk; more is a volume of the storage class. In 10^9 bytes."
        ),
    ] = 100.0
    disk_limit_gb: Annotated[
        Amount,
        says(
            "Most that a task that does not say `disk_gb` may write on the node's own disk; one that writes more is evicted. "
            "Nothing is asked for. 0: no limit. A quota of `limits.ephemeral-storage` counts it. In 10^9 bytes."
        ),
    ] = 100.0
    storage_class: Annotated[
        str,
        says(
            "Storage class of the tasks' volumes, which go with their pods. Not given: the node's own disk up to "
            "`empty_dir_limit_gb`, and the cluster's default class beyond it."
        ),
    ] = ""
    volume_gb: Annotated[
        Amount, says("Size of such a volume for a task that does not say `disk_gb`, in 10^9 bytes.")
    ] = 10.0
    gpu_resource: Annotated[
        str, says("What a GPU is called in the cluster, `nvidia.com/gpu`. Not given: tasks cannot ask for `gpu_count`.")
    ] = ""
    queue: Annotated[
        str,
        says("Local queue of Kueue: each pod then comes in a Job that Kueue admits. Not given: pods without Kueue."),
    ] = ""
    parameters: Annotated[
        tuple[ParameterRule, ...], says("Backend parameters that tasks may give, and what each does to the pod.")
    ] = ()
    preemptible: Annotated[Patch, says("What is merged into the pod of a task that says `preemptible`.")] = {}
    zones: Annotated[
        tuple[str, ...], says("Zones that tasks may ask for (`resources.zones`); `*` stands for letters. Empty: any.")
    ] = ()
    zone_label: Annotated[str, says('Label of nodes that says their zone; `""`: `resources.zones` is not heeded.')] = (
        "topology.kubernetes.io/zone"
    )
    pod_template: Annotated[
        str, says("What is merged into every pod: YAML or JSON of `metadata` and `spec`, or the path of a file of it.")
    ] = ""
    pending_limit: Annotated[Positive, says("Most pods that wait for a node; other tasks stay QUEUED.")] = 1000
    image_wait_seconds: Annotated[Seconds, says("How long an image may fail to be pulled.")] = 300.0
    error_grace_seconds: Annotated[Seconds, says("How long a container may fail to be made.")] = 30.0
    volume_wait_seconds: Annotated[Seconds, says("How long a volume may fail to be mounted.")] = 300.0
    node_lost_seconds: Annotated[
        Annotated[int, Meta(ge=0)],
        says("How long a pod stays with a node that is silent, before its task is tried elsewhere."),
    ] = 300
    host_lost_seconds: Annotated[
        Seconds, says("How long attempts in another cluster, or of another `server_id`, are waited for.")
    ] = 300.0
    grace_seconds: Annotated[Annotated[int, Meta(ge=0)], says("Between TERM and KILL, in whole seconds.")] = 30
    keep_seconds: Annotated[Seconds, says("How long a pod is kept after its end, for people to look at.")] = 0.0
