"""What of a task can be refused when it is sent, not when it runs: what it may not ask for, and what fits into no pod. Pure."""

from collections.abc import Sequence

from msgspec import json

from tesk.caller import Caller
from tesk.compute.backend import AttemptId
from tesk.compute.kubernetes.layout import Layout
from tesk.compute.kubernetes.manifests import pod_manifest
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.secret import POD_LIMIT_BYTES, items, pod_too_large, secret_too_large
from tesk.compute.plan import Plan, make_plan
from tesk.errors import CannotRun, Problem
from tesk.settings import Settings
from tesk.tes.validation import Accepted

_ATTEMPT = AttemptId("0" * 26, 1)
_UID = "00000000-0000-0000-0000-000000000000"
_SURE_BYTES = 256 * 1024
_EXECUTOR_BYTES = 1500


class Submissions:
    """Looks at what is sent. `settings` are in force."""

    def __init__(self, policy: Policy, settings: Settings) -> None:
        self._policy = policy
        self._settings = settings

    def check(self, accepted: Accepted, caller: Caller) -> Sequence[Problem]:
        """Return all that is wrong with a caller's task, as far as the cluster goes."""
        problems = self._policy.check(accepted.task, caller.name)
        if problems or _is_surely_small(accepted):
            return problems
        try:
            why = self._too_large(self._plan(accepted, caller.name))
        except CannotRun:
            return ()  # its end will say it
        return (Problem("", why),) if why else ()

    def _too_large(self, plan: Plan) -> str | None:
        pod = pod_manifest(
            _ATTEMPT, plan, self._settings.kubernetes, Layout(pod_resources=True), self._policy.asked(plan)
        )
        return pod_too_large(json.encode(pod)) or secret_too_large(
            items(_ATTEMPT, plan, _UID, self._settings.storage)  # with more credentials than will travel
        )

    def _plan(self, accepted: Accepted, owner: str) -> Plan:
        limits, defaults = self._settings.limits, self._settings.defaults
        return make_plan(
            accepted.task,
            task_id=_ATTEMPT.task_id,
            owner=owner,
            extension=accepted.extension,
            cpu_cores=defaults.cpu_cores,
            ram_bytes=1,
            disk_bytes=0,
            tail_bytes=limits.log_tail_bytes,
        )


def _is_surely_small(accepted: Accepted) -> bool:
    """Each executor has a mount of each path in the pod; all else is in the body, and compressed."""
    size = len(accepted.body)
    return size < _SURE_BYTES and len(accepted.task.executors) * (_EXECUTOR_BYTES + 2 * size) < POD_LIMIT_BYTES
