"""Which pods are shown to a cluster when a server starts."""

import pytest
from msgspec.structs import replace

from fakes.manifests import SETTINGS
from tesk.compute.kubernetes.layout import Layout
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.trial import trials
from tesk.errors import StartError
from tesk.settings import KubernetesSettings, ParameterRule


def shown(settings: KubernetesSettings) -> list[str]:
    return [where for where, _ in trials(settings, Policy(settings, settings.pod_template), Layout())]


def rule(*values: str, callers: tuple[str, ...] = (), **patch: object) -> ParameterRule:
    return ParameterRule(name="It", values=values, callers=callers, patch=patch)


def test_a_server_that_sets_nothing_tries_one_pod():
    assert shown(SETTINGS) == ["kubernetes"]


def test_the_template_preemptible_tasks_and_every_rule_are_tried():
    rules = (rule("a", callers=("alice",), queue="$value"), rule("b-*", queue="$value"), rule("c", "d"))
    settings = replace(
        SETTINGS,
        pod_template="metadata: {labels: {a: b}}",
        preemptible={"spec": {"nodeSelector": {"spot": "true"}}},
        parameters=rules,
    )
    assert shown(settings) == [
        "kubernetes.pod_template",
        "kubernetes.preemptible",
        "kubernetes.parameters[0]",
        "kubernetes.parameters[2]",
    ]


def test_a_rule_whose_own_value_is_no_number_is_named():
    with pytest.raises(StartError, match=r"kubernetes\.parameters\[0\]: .* must be a number, not 'many'"):
        shown(replace(SETTINGS, parameters=(rule("many", volume_gb="$value"),)))
