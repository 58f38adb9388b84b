"""What the settings lead to is shown to the cluster when a server starts, and what it will not take is said then."""

import asyncio

from msgspec.structs import replace

from fakes.left_in_cluster import assert_nothing_is_left
from fakes.manifests import SETTINGS
from tesk.compute.kubernetes.layout import Layout
from tesk.compute.kubernetes.objects import Bare
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.trial import try_out
from tesk.errors import StartError
from tesk.settings import KubernetesSettings, ParameterRule


def tried(cluster, settings: KubernetesSettings = SETTINGS, template: str = "") -> str | None:
    """What is said at the start, None for nothing."""
    settings = replace(settings, pod_template=template)

    async def main() -> None:
        async with cluster.api() as api:
            await try_out(api, cluster.namespace, settings, Policy(settings, template), Layout())

    try:
        asyncio.run(main())
    except StartError as error:
        return str(error)
    return None


def test_good_settings_are_taken_and_nothing_is_left(cluster):
    rules = (
        ParameterRule(name="it", values=("a", "b-*"), patch={"spec": {"nodeSelector": {"x": "$value"}}}),
        ParameterRule(name="any", patch={"spec": {"priorityClassName": "$value"}}),
    )
    assert tried(cluster, replace(SETTINGS, parameters=rules, preemptible={"spec": {"nodeSelector": {}}})) is None
    cluster.run(lambda api: assert_nothing_is_left(api, cluster.namespace, seconds=5))


def test_a_field_that_there_is_not_deep_in_a_template_is_named(cluster):
    said = tried(cluster, template="spec: {affinity: {nodeAffinty: {}}}")
    assert said is not None
    assert said.startswith("kubernetes.pod_template: the cluster takes no such pod: ")
    assert 'unknown field "spec.affinity.nodeAffinty"' in said


def test_a_value_that_cannot_be_is_named_with_its_rule(cluster):
    rule = ParameterRule(name="spot", values=("a b",), patch={"spec": {"nodeSelector": {"spot": "$value"}}})
    said = tried(cluster, replace(SETTINGS, parameters=(rule,)))
    assert said is not None
    assert said.startswith("kubernetes.parameters[0]: the cluster takes no such pod: ")


def test_a_namespace_with_a_stricter_level_says_which_setting_helps(cluster):
    cluster.run(lambda api: label(api, cluster, "restricted"))
    try:
        said = tried(cluster)
        assert said is not None
        assert "allows no such pod (kubernetes.security is baseline)" in said
        assert tried(cluster, replace(SETTINGS, security="restricted")) is None
    finally:
        cluster.run(lambda api: label(api, cluster, None))


async def label(api, cluster, level: str | None) -> None:
    patch = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}
    await api.patch(f"/api/v1/namespaces/{cluster.namespace}", patch, Bare)
