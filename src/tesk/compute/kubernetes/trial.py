"""Show the API server, at the start, the pods that the settings lead to, and mean none of them. Acts.

What a pod template and the patches of parameters say is checked by name without a cluster; what lies deeper, and what a
namespace forbids, only the cluster knows.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from tesk.compute.backend import AttemptId
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.layout import Layout
from tesk.compute.kubernetes.manifests import pod_manifest
from tesk.compute.kubernetes.objects import path_of
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.refusals import Forbidden, Invalid, Refused
from tesk.compute.kubernetes.template import Document
from tesk.compute.plan import Plan, Step
from tesk.errors import CannotRun, StartError
from tesk.settings import KubernetesSettings
from tesk.transfer import TransferList

_ATTEMPT: Final = AttemptId("tesk-trial", 1)
_STRICT: Final = "strict decoding error"
_LEVEL: Final = "PodSecurity"


class _Tried(Struct, frozen=True):
    kind: str = ""


async def try_out(api: Api, namespace: str, settings: KubernetesSettings, policy: Policy, layout: Layout) -> None:
    """Raise StartError where the cluster takes no pod that is made so. Raises BackendUnavailable.

    A refusal for the moment (a quota, a webhook that cannot be tried) is none for good.
    """
    for where, pod in trials(settings, policy, layout):
        try:
            await api.create(path_of("pods", namespace), pod, _Tried, dry_run=True, strict=True)
        except Invalid as error:
            if error.code == 422 or _STRICT in str(error):
                raise StartError(f"{where}: the cluster takes no such pod: {error}") from error
        except Forbidden as error:
            if _LEVEL in str(error):
                raise StartError(
                    f"{where}: the namespace {namespace} allows no such pod (kubernetes.security is {settings.security}): {error}"
                ) from error
        except Refused:
            pass


def trials(settings: KubernetesSettings, policy: Policy, layout: Layout) -> Iterator[tuple[str, Document]]:
    """Yield a plain pod, one of a preemptible task, and one for each value of a parameter that is said in full; where each is set."""
    yield "kubernetes.pod_template" if settings.pod_template else "kubernetes", _pod(settings, policy, layout)
    if settings.preemptible:
        yield "kubernetes.preemptible", _pod(settings, policy, layout, preemptible=True)
    for index, rule in enumerate(settings.parameters):
        value = next((each for each in rule.values if not set("*?[") & set(each)), None)
        caller = rule.callers[0] if rule.callers else "trial"
        if value is None:
            continue
        try:
            pod = _pod(settings, policy, layout, caller=caller, parameters={rule.name.lower(): value})
        except CannotRun as error:
            raise StartError(f"kubernetes.parameters[{index}]: {error}") from error
        yield f"kubernetes.parameters[{index}]", pod


def _pod(
    settings: KubernetesSettings,
    policy: Policy,
    layout: Layout,
    *,
    caller: str = "trial",
    preemptible: bool = False,
    parameters: dict[str, str] | None = None,
) -> Document:
    step = Step(
        index=0,
        image=settings.stager_image,
        command=("true",),
        env={},
        workdir=None,
        stdin=None,
        stdout=None,
        stderr=None,
        ignore_error=False,
    )
    plan = Plan(
        task_id=_ATTEMPT.task_id,
        name=None,
        shared=(),
        steps=(step,),
        transfer=TransferList(caller=caller),
        cpu_cores=0.001,
        ram_bytes=1,
        disk_bytes=0,
        tail_bytes=1,
        parameters=parameters or {},
        preemptible=preemptible,
    )
    pod = pod_manifest(_ATTEMPT, plan, settings, layout, policy.asked(plan))
    metadata = pod["metadata"]
    assert isinstance(metadata, dict)
    # It stays where the caller of `try_out` may make pods.
    return {**pod, "metadata": {key: value for key, value in metadata.items() if key != "namespace"}}
