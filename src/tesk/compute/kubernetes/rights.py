"""What the server must be allowed to do in each namespace of tasks. Pure.

The one list: `tesk doctor --kubernetes` asks the cluster for it, the chart's Role grants it and no more, tests compare it with
the calls that are made.
"""

from collections.abc import Mapping

from tesk.compute.kubernetes.objects import Rule
from tesk.settings import KubernetesSettings

ALWAYS: tuple[Rule, ...] = (
    Rule("create", "pods"),
    Rule("get", "pods"),
    Rule("list", "pods"),
    Rule("watch", "pods"),
    Rule("patch", "pods"),
    Rule("delete", "pods"),
    Rule("get", "pods", subresource="log"),
    Rule("create", "secrets"),
    Rule("delete", "secrets"),
    Rule("list", "events"),
    Rule("get", "namespaces"),
)
WITH_QUEUE: tuple[Rule, ...] = (
    Rule("create", "jobs", "batch"),
    Rule("get", "jobs", "batch"),
    Rule("list", "jobs", "batch"),
    Rule("delete", "jobs", "batch"),
)
"""Beside these, where pods come in Jobs that Kueue admits."""


def rights(settings: KubernetesSettings) -> tuple[Rule, ...]:
    """Return what is asked for with these settings."""
    return ALWAYS + (WITH_QUEUE if uses_queue(settings) else ())


def uses_queue(settings: KubernetesSettings) -> bool:
    """Say whether some pods may come in Jobs."""
    patches = (*(rule.patch for rule in settings.parameters), settings.preemptible)
    return bool(settings.queue) or any("queue" in patch for patch in patches)


def role_rules(rules: tuple[Rule, ...]) -> list[Mapping[str, list[str]]]:
    """Return rules as a Role has them: verbs by resource."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for rule in rules:
        resource = f"{rule.resource}/{rule.subresource}" if rule.subresource else rule.resource
        verbs.setdefault((rule.group, resource), []).append(rule.verb)
    return [{"apiGroups": [group], "resources": [name], "verbs": said} for (group, name), said in verbs.items()]


def namespaces(settings: KubernetesSettings, own: str) -> tuple[str, ...]:
    """Return where there may be pods of tasks, the usual place first. `own`: where the server is, if nothing is set."""
    others = (*settings.namespaces.values(), *(row.namespace for row in settings.tag_namespaces))
    return tuple(dict.fromkeys((settings.namespace or own, *others)))
