"""From the settings to the backend `kubernetes` and what it says of tasks before they are stored."""

from collections.abc import Callable, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from tesk.caller import Caller
from tesk.compute.kubernetes.backend import KubernetesBackend
from tesk.compute.kubernetes.cluster import Resolve
from tesk.compute.kubernetes.settled import policy_of, settled
from tesk.compute.kubernetes.submission import Submissions
from tesk.errors import Problem
from tesk.settings import Settings
from tesk.storage.needed import needed
from tesk.tes.validation import Accepted


class Built(Struct, frozen=True):
    """The backend, the backend parameters that it supports, and what it cannot do of a task that is sent."""

    backend: KubernetesBackend
    parameters: tuple[str, ...]
    check: Callable[[Accepted, Caller], Sequence[Problem]]


def build(settings: Settings, resolve: Resolve) -> Built:
    """Build it of settings in force. Raises StartError."""
    cluster = settled(settings)
    settings = replace(settings, kubernetes=cluster)
    policy = policy_of(cluster)
    theirs = partial(needed, settings.storage, web_identity=bool(cluster.identity_audience))
    return Built(
        KubernetesBackend(cluster, policy, theirs, resolve),
        tuple(sorted(policy.parameters)),
        Submissions(policy, settings).check,
    )
