"""What in a cluster would keep tasks from running: asked of its API server, and with `--try` of a pod. For `tesk doctor`."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from tesk.cli.cluster_pod import DOCTOR, plan_of, run_pod
from tesk.cli.finding import FAIL, OK, WARN, Finding, with_help
from tesk.compute.backend import AttemptId
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.credentials import find
from tesk.compute.kubernetes.detect import detect_layout
from tesk.compute.kubernetes.layout import MANAGED_BY, Layout
from tesk.compute.kubernetes.manifests import pod_manifest
from tesk.compute.kubernetes.objects import Bare, Meta, Rule, path_of
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.refusals import Forbidden, NotFound, Refused
from tesk.compute.kubernetes.rights import namespaces, rights, uses_queue
from tesk.compute.kubernetes.settled import policy_of, settled
from tesk.compute.kubernetes.trial import try_out
from tesk.errors import BackendError, BackendUnavailable, CannotRun, StartError
from tesk.settings import KubernetesSettings, Settings
from tesk.tes.task import Executor

OLDEST = (1, 29)
_ANSWER_SECONDS = 10.0
_ENFORCE = "pod-security.kubernetes.io/enforce"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_STORAGE = "storage.k8s.io/v1"
_KUEUE = "kueue.x-k8s.io"
_LEAST = re.compile(r"minimum (cpu|memory) usage per Container")


class _Version(Struct, frozen=True, rename="camel"):
    git_version: str = ""
    major: str = ""
    minor: str = ""


class _Who(Struct, frozen=True):
    username: str = ""


class _Review(Struct, frozen=True, rename="camel"):
    user_info: _Who = _Who()
    allowed: bool = False


class _Reviewed(Struct, frozen=True):
    status: _Review = _Review()


class _Preferred(Struct, frozen=True):
    version: str = ""


class _Group(Struct, frozen=True, rename="camel"):
    preferred_version: _Preferred = _Preferred()


class _Selector(Struct, frozen=True, rename="camel"):
    match_labels: dict[str, str] = {}
    match_expressions: tuple[dict[str, object], ...] = ()


class _PolicySpec(Struct, frozen=True, rename="camel"):
    pod_selector: _Selector = _Selector()
    policy_types: tuple[str, ...] = ()


class _NetworkPolicy(Struct, frozen=True):
    metadata: Meta = Meta()
    spec: _PolicySpec = _PolicySpec()


def findings(settings: Settings, *, trial: bool) -> Iterator[Finding]:
    """Yield what is found, as it is found. `trial`: run a pod, too."""
    with asyncio.Runner() as runner:
        looking = _look(settings, trial=trial)

        async def step() -> Finding | None:
            return await anext(looking, None)

        try:
            while (found := runner.run(step())) is not None:
                yield found
        finally:
            runner.run(looking.aclose())


async def _look(settings: Settings, *, trial: bool) -> AsyncGenerator[Finding]:
    try:
        cluster = settled(settings)
        policy = policy_of(cluster)
        api = Api(find(cluster.kubeconfig, cluster.context), request_seconds=_ANSWER_SECONDS)
    except StartError as error:
        yield with_help(FAIL, "cluster", str(error), f"KUBECONFIG=FILE {DOCTOR}")
        return
    settings = replace(settings, kubernetes=cluster)
    look = _Look(api, settings, policy)
    async with api:
        try:
            async for found in look.everything():
                yield found
        except BackendError as error:
            yield Finding(FAIL, "cluster", str(error), "kubectl cluster-info")
            return
    if look.fails:
        return
    if trial:
        async for found in run_pod(settings):
            yield found
    else:
        yield Finding(OK, "pod", "none was run, so no image was pulled", f"{DOCTOR} --try")


class _Look:
    """Asks an API server. `fails`: something was found that no pod of a trial would get past."""

    def __init__(self, api: Api, settings: Settings, policy: Policy) -> None:
        self.fails = False
        self._api = api
        self._settings = settings
        self._cluster = settings.kubernetes
        self._policy = policy
        self._namespaces = namespaces(self._cluster, api.namespace)

    async def everything(self) -> AsyncIterator[Finding]:
        """Yield all that can be known without a pod. Raises BackendError where nobody answers."""
        yield await self._version()
        there = []
        for namespace in self._namespaces:
            found, level = await self._namespace(namespace)
            if found is not None:
                yield self._noted(found)
                continue
            there.append(namespace)
            yield self._noted(await self._rights(namespace))
            if not self.fails:
                async for found in self._pods(namespace, level):
                    yield self._noted(found)
            yield await self._network(namespace)
        for found in await self._storage():
            yield self._noted(found)
        for queue in self._queues() if uses_queue(self._cluster) else ():
            yield self._noted(await self._queue(queue, there))

    def _noted(self, found: Finding) -> Finding:
        self.fails |= found.level == FAIL
        return found

    # -- who, where -----------------------------------------------------------------------------------------------------------
    async def _version(self) -> Finding:
        version = await self._api.get("/version", _Version)
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            path = path_of("selfsubjectreviews", group="authentication.k8s.io/v1")
            who = (await self._api.create(path, review, _Reviewed, dry_run=True)).status.user_info.username
        except Refused:
            who = ""
        says = f"Kubernetes {version.git_version}{f', to which this is {who}' if who else ''}"
        numbers = tuple(int(re.sub(r"\D", "", part) or 0) for part in (version.major, version.minor))
        if numbers < OLDEST:
            return Finding(WARN, "cluster", f"{says}: older than 1.29, with which nobody has tried it", "upgrade it")
        return Finding(OK, "cluster", says)

    async def _namespace(self, namespace: str) -> tuple[Finding | None, str | None]:
        """Return what is wrong with it, or which level it enforces (None: not to be known)."""
        try:
            known = await self._api.get(path_of("namespaces", name=namespace), Bare)
        except NotFound:
            absent = f"there is no namespace {namespace}"
            return Finding(FAIL, "namespace", absent, f"kubectl create namespace {namespace}"), None
        except Refused:
            return None, None
        return None, known.metadata.labels.get(_ENFORCE, "")

    async def _rights(self, namespace: str) -> Finding:
        wanted = rights(self._cluster)
        allowed = await asyncio.gather(*(self._may(rule, namespace) for rule in wanted))
        missing = [str(rule) for rule, yes in zip(wanted, allowed, strict=True) if not yes]
        if not missing:
            return Finding(OK, "rights", f"in {namespace}: all {len(wanted)} that are used")
        return Finding(
            FAIL,
            "rights",
            f"in {namespace} these are missing: {', '.join(missing)}",
            "rbac.create and tasks.otherNamespaces in the chart's values; without the chart the Role of docs/kubernetes/security.md",
        )

    async def _may(self, rule: Rule, namespace: str) -> bool:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {**to_builtins(rule), "namespace": namespace}},
        }
        path = path_of("selfsubjectaccessreviews", group="authorization.k8s.io/v1")
        return (await self._api.create(path, review, _Reviewed)).status.allowed

    async def _pods(self, namespace: str, level: str | None) -> AsyncIterator[Finding]:
        try:
            layout = await detect_layout(self._api, namespace, self._cluster)
        except BackendUnavailable as error:
            if not isinstance(error.__cause__, Refused):
                raise
            yield _refused(namespace, error.__cause__)
            return
        if namespace == self._namespaces[0]:
            yield Finding(OK, "layout", _said(layout))
        security = await self._security(namespace, layout, level)
        yield security
        if security.level != FAIL:  # a level that takes no pod would be taken for a limit
            yield await self._room(namespace, layout)

    # -- what it takes --------------------------------------------------------------------------------------------------------
    async def _security(self, namespace: str, layout: Layout, level: str | None) -> Finding:
        ours = self._cluster.security
        try:
            await try_out(self._api, namespace, self._cluster, self._policy, layout)
        except StartError as error:
            help_ = f"TESK_KUBERNETES_SECURITY=restricted {DOCTOR}" if "PodSecurity" in str(error) else "tesk config"
            if ours == "restricted" and "PodSecurity" in str(error):
                help_ = "kubernetes.pod_template and kubernetes.parameters: what they add is more than is allowed"
            return Finding(FAIL, "security", str(error), help_)
        if level is None:
            return Finding(OK, "security", f"{namespace} takes pods as kubernetes.security = {ours} makes them")
        enforced = f"enforces {level}" if level else "enforces no level"
        return Finding(OK, "security", f"{namespace} {enforced} and takes pods of kubernetes.security = {ours}")

    async def _room(self, namespace: str, layout: Layout) -> Finding:
        """Show the cluster the pod of a task that says nothing of what it needs."""
        defaults = self._settings.defaults
        image = defaults.image
        plan = plan_of(
            AttemptId("tesk-doctor", 1),
            (Executor(image=image, command=("true",)),),
            defaults.cpu_cores,
            round(defaults.ram_gb * 1e9),
            round(defaults.disk_gb * 1e9),
        )
        try:
            pod = pod_manifest(AttemptId("tesk-doctor", 1), plan, self._cluster, layout, self._policy.asked(plan))
            metadata = pod["metadata"]
            assert isinstance(metadata, dict)
            metadata.pop("namespace", None)
            await self._api.create(path_of("pods", namespace), pod, Bare, dry_run=True)
        except CannotRun as error:
            return Finding(WARN, "limits", str(error), "tesk config")
        except Refused as error:
            return _refused(namespace, error)
        task = f"{defaults.cpu_cores:g} cores, {defaults.ram_gb:g} GB"
        return Finding(OK, "limits", f"{namespace} has nothing against a task that says nothing ({task})")

    async def _network(self, namespace: str) -> Finding:
        path = path_of("networkpolicies", namespace, group="networking.k8s.io/v1")
        try:
            policies, _ = await self._api.list(path, _NetworkPolicy)
        except Refused:
            unknown = f"policies of {namespace} may not be listed by this account, which needs no right to it"
            return Finding(OK, "network", unknown, f"{DOCTOR} --try")
        if any(_holds_tasks(policy) for policy in policies):
            return Finding(OK, "network", f"{namespace} has a policy for what pods of tasks reach")
        bare = f"no policy in {namespace} says what pods of tasks reach: the API server and a cloud's metadata, too"
        return Finding(WARN, "network", bare, "tasks.networkPolicy.enabled in the chart's values")

    async def _storage(self) -> list[Finding]:
        cluster = self._cluster
        named = dict.fromkeys(filter(None, (cluster.storage_class, *_named(cluster, "storage_class"))))
        path = path_of("storageclasses", group=_STORAGE)
        try:
            classes, _ = await self._api.list(path, Bare)
        except Refused:
            return [Finding(OK, "storage", "classes may not be listed by this account, which needs no right to it")]
        there = {each.metadata.name for each in classes}
        missing = [name for name in named if name not in there]
        if missing:
            known = ", ".join(sorted(there)) or "none"
            return [
                Finding(FAIL, "storage", f"there is no storage class {name}; there are: {known}") for name in missing
            ]
        found = [Finding(OK, "storage", f"there is the storage class {name}") for name in named]
        if cluster.storage_class:
            return found
        default = [each.metadata.name for each in classes if each.metadata.annotations.get(_DEFAULT_CLASS) == "true"]
        limit = cluster.empty_dir_limit_gb
        if default:
            says = f"disks up to {limit:g} GB are the node's own, larger ones of the default class {default[0]}"
            return [*found, Finding(OK, "storage", says)]
        says = f"there is no default storage class: a task with a disk_gb over {limit:g} would wait for ever"
        return [*found, Finding(WARN, "storage", says, "kubernetes.storage_class, or kubernetes.empty_dir_limit_gb")]

    # -- Kueue ----------------------------------------------------------------------------------------------------------------
    def _queues(self) -> list[str]:
        return [*dict.fromkeys(filter(None, (self._cluster.queue, *_named(self._cluster, "queue"))))] or [""]

    async def _queue(self, queue: str, there: list[str]) -> Finding:
        try:
            version = (await self._api.get(f"/apis/{_KUEUE}", _Group)).preferred_version.version
        except NotFound:
            none = "a queue is set and the cluster has no Kueue: tasks would never be admitted"
            return Finding(FAIL, "kueue", none, "install Kueue, or take kubernetes.queue and its rules away")
        missing = []
        for namespace in there if queue else ():
            try:
                await self._api.get(path_of("localqueues", namespace, queue, group=f"{_KUEUE}/{version}"), Bare)
            except NotFound:
                missing.append(namespace)
            except Refused:
                continue  # only who may look can say
        if missing:
            return Finding(
                FAIL, "kueue", f"there is no local queue {queue} in {', '.join(missing)}", "kubectl get localqueues -A"
            )
        return Finding(OK, "kueue", f"it is there{f', and nothing speaks against the queue {queue}' if queue else ''}")


def _named(cluster: KubernetesSettings, key: str) -> Iterator[str]:
    """Yield what rules put under `key` beside the pod, for each value that is said in full."""
    yield str(cluster.preemptible.get(key, ""))
    for rule in cluster.parameters:
        made = (str(rule.patch.get(key, "")).replace("$value", value) for value in rule.values or ("*",))
        yield from (name for name in made if not set("*?[$") & set(name))


def _refused(namespace: str, error: Refused) -> Finding:
    """Say why a namespace takes no plain pod, and whether that is for now or for good."""
    if isinstance(error, Forbidden) and error.quota:
        return Finding(WARN, "limits", f"{namespace}: {error}", f"kubectl --namespace {namespace} describe quota")
    if _LEAST.search(str(error)):
        return Finding(FAIL, "limits", f"{namespace}: {error}", "kubernetes.least_cpu_cores, kubernetes.least_ram_gb")
    if isinstance(error, Forbidden):
        return Finding(FAIL, "limits", f"{namespace}: {error}", f"kubectl --namespace {namespace} describe limits")
    return Finding(FAIL, "limits", f"{namespace}: {error}", "tesk config")


def _said(layout: Layout) -> str:
    shim = "an image volume" if layout.image_volume else "an init container, a second slower than by an image volume"
    return f"the shim comes by {shim}; cores and memory are those of {'pods' if layout.pod_resources else 'containers'}"


def _holds_tasks(policy: _NetworkPolicy) -> bool:
    selector = policy.spec.pod_selector
    chosen = selector.match_labels.items() <= {MANAGED_BY: "tesk"}.items() and not selector.match_expressions
    return chosen and "Egress" in policy.spec.policy_types
