"""What tasks may ask of the cluster, and what that does to their pods."""

import pytest
from msgspec.structs import replace

from fakes.manifests import SETTINGS, containers, executors, plan_of, pod_of
from tesk.compute.kubernetes.policy import Policy, filled
from tesk.errors import CannotRun, StartError
from tesk.settings import ParameterRule, TagNamespace
from tesk.tes.task import Resources, Task


def task(**resources: object) -> Task:
    return Task(executors=executors(), resources=Resources(**resources))


def asking(**parameters: str) -> Task:
    return task(backend_parameters=parameters)


def rule(
    name: str, patch: dict[str, object], values: tuple[str, ...] = (), callers: tuple[str, ...] = ()
) -> ParameterRule:
    return ParameterRule(name=name, values=values, patch=patch, callers=callers)


GVISOR = replace(
    SETTINGS,
    parameters=(rule("runtime_class", {"spec": {"runtimeClassName": "$value"}}, ("gvisor", "kata")),),
)


# -- trap 23: the table -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patch", "value", "place", "found"),
    [
        ({"spec": {"priorityClassName": "$value"}}, "low", "priorityClassName", "low"),
        ({"spec": {"nodeSelector": {"pool": "$value"}}}, "big", "nodeSelector", {"pool": "big"}),
        ({"spec": {"runtimeClassName": "$value"}}, "gvisor", "runtimeClassName", "gvisor"),
        ({"spec": {"serviceAccountName": "run-$value"}}, "a", "serviceAccountName", "run-a"),
        ({"spec": {"imagePullSecrets": [{"name": "$value"}]}}, "ghcr", "imagePullSecrets", [{"name": "ghcr"}]),
        ({"spec": {"nodeSelector": {"$value": "yes"}}}, "ssd", "nodeSelector", {"ssd": "yes"}),
    ],
)
def test_trap_23_a_parameter_becomes_a_field_of_the_pod(patch, value, place, found):
    settings = replace(SETTINGS, parameters=(rule("it", patch),))
    assert pod_of(plan_of(asking(it=value)), settings)["spec"][place] == found


def test_trap_23_tolerations_of_a_parameter_stand_beside_ours():
    patch = {"spec": {"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]}}
    settings = replace(SETTINGS, parameters=(rule("gpu_nodes", patch),))
    assert [each["key"] for each in pod_of(plan_of(asking(gpu_nodes="yes")), settings)["spec"]["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
        "gpu",
    ]


def test_trap_23_a_pod_security_context_wants_numbers():
    settings = replace(SETTINGS, parameters=(rule("gid", {"spec": {"securityContext": {"fsGroup": "$number"}}}),))
    context = pod_of(plan_of(asking(gid="1000")), settings)["spec"]["securityContext"]
    assert (context["fsGroup"], context["seccompProfile"]) == (1000, {"type": "RuntimeDefault"})
    (problem,) = Policy(settings).check(asking(gid="staff"), "alice")
    assert (problem.path, problem.detail) == ("resources.backend_parameters.gid", "must be a number, not 'staff'")


def test_trap_23_queue_storage_class_and_volume_size_are_no_parts_of_a_pod():
    settings = replace(
        SETTINGS,
        parameters=(
            rule("queue", {"queue": "$value"}),
            rule("volume", {"storage_class": "$value", "volume_gb": 20}),
        ),
    )
    plan = plan_of(asking(queue="night", volume="fast"))
    asked = Policy(settings).asked(plan)
    assert (asked.queue, asked.storage_class, asked.volume_gb, asked.patches) == ("night", "fast", 20.0, ())
    work = pod_of(plan, settings)["spec"]["volumes"][0]["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert (work["storageClassName"], work["resources"]["requests"]["storage"]) == ("fast", "20000000000")


def test_a_value_that_is_not_listed_is_refused_with_those_that_are():
    (problem,) = Policy(GVISOR).check(asking(Runtime_Class="runc"), "alice")
    assert problem.path == "resources.backend_parameters.Runtime_Class"
    assert problem.detail == "'runc' may not be used here; there are: gvisor, kata"


def test_values_may_be_patterns():
    settings = replace(SETTINGS, parameters=(rule("pool", {"spec": {"nodeSelector": {"p": "$value"}}}, ("cpu-*",)),))
    assert Policy(settings).check(asking(pool="cpu-big"), "alice") == ()
    assert Policy(settings).check(asking(pool="gpu"), "alice") != ()


def test_rules_of_one_name_give_callers_different_values():
    spec = {"spec": {"priorityClassName": "$value"}}
    settings = replace(
        SETTINGS, parameters=(rule("priority", spec, ("high",), ("alice",)), rule("priority", spec, ("low",)))
    )
    policy = Policy(settings)
    assert policy.check(asking(priority="high"), "alice") == policy.check(asking(priority="low"), "alice") == ()
    (problem,) = policy.check(asking(priority="high"), "bob")
    assert problem.detail == "'high' may not be used here; there are: low"


def test_a_parameter_of_others_is_refused():
    settings = replace(SETTINGS, parameters=(rule("priority", {}, ("high",), ("alice",)),))
    (problem,) = Policy(settings).check(asking(priority="high"), "bob")
    assert problem.detail == "'high': you may use none here"


def test_service_info_lists_what_may_be_asked_for():
    assert Policy(GVISOR).parameters == {"time_limit_seconds", "runtime_class"}
    assert Policy(replace(GVISOR, gpu_resource="g/x")).parameters > {"gpu_count", "gpu_executor"}


def test_settings_that_changed_meanwhile_end_a_task_with_a_sentence():
    with pytest.raises(CannotRun, match=r"runtime_class: 'runc' may not be used here; there are: gvisor, kata\."):
        Policy(GVISOR).asked(plan_of(asking(runtime_class="runc")))


def test_a_rule_cannot_take_the_name_of_what_has_a_meaning():
    with pytest.raises(StartError, match=r"parameters\[0\]: GPU_count has a meaning already"):
        Policy(replace(SETTINGS, parameters=(rule("GPU_count", {}),)))


# -- resources --------------------------------------------------------------------------------------------------------------


def test_preemptible_tasks_get_what_the_settings_say():
    settings = replace(SETTINGS, preemptible={"spec": {"nodeSelector": {"spot": "true"}}})
    assert pod_of(plan_of(task(preemptible=True)), settings)["spec"]["nodeSelector"] == {"spot": "true"}
    assert "nodeSelector" not in pod_of(plan_of(task(preemptible=False)), settings)["spec"]


def required(pod: dict[str, object]) -> object:
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return terms["nodeSelectorTerms"]


ZONES = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a", "b"]}


def test_a_task_runs_in_one_of_its_zones():
    assert required(pod_of(plan_of(task(zones=("a", "b"))))) == [{"matchExpressions": [ZONES]}]


def test_zones_narrow_every_choice_that_the_template_leaves():
    ssd, hdd = ({"matchExpressions": [{"key": each, "operator": "Exists"}]} for each in ("ssd", "hdd"))
    rules = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [ssd, hdd]}}
    template = str({"spec": {"affinity": {"nodeAffinity": rules}}})
    terms = required(pod_of(plan_of(task(zones=("a", "b"))), template=template))
    assert [each["matchExpressions"] for each in terms] == [
        [*ssd["matchExpressions"], ZONES],
        [*hdd["matchExpressions"], ZONES],
    ]


def test_zones_that_are_not_listed_are_refused():
    (problem,) = Policy(replace(SETTINGS, zones=("eu-*",))).check(task(zones=("eu-1", "us-1")), "alice")
    assert (problem.path, problem.detail) == ("resources.zones[1]", "'us-1' may not be used here; there are: eu-*")


def test_zones_are_not_heeded_where_nodes_have_none():
    settings = replace(SETTINGS, zone_label="")
    assert "affinity" not in pod_of(plan_of(task(zones=("a",))), settings)["spec"]


# -- trap 22 ----------------------------------------------------------------------------------------------------------------


GPUS = replace(SETTINGS, gpu_resource="nvidia.com/gpu")


@pytest.mark.parametrize(
    ("count", "parameters", "path", "says"),
    [
        (2, {"gpu_count": "1"}, "gpu_count", "GPUs belong to one executor: name it by gpu_executor, 0 to 1"),
        (1, {"gpu_count": "two"}, "gpu_count", "must be a whole number of GPUs, not 'two'"),
        (
            2,
            {"gpu_count": "1", "gpu_executor": "2"},
            "gpu_executor",
            "must be the number of an executor, 0 to 1, not '2'",
        ),
    ],
)
def test_trap_22_gpus_that_belong_to_nobody_are_refused(count, parameters, path, says):
    asked = Task(executors=executors(count), resources=Resources(backend_parameters=parameters))
    (problem,) = Policy(GPUS).check(asked, "alice")
    assert (problem.path, problem.detail) == (f"resources.backend_parameters.{path}", says)


def test_trap_22_the_only_executor_gets_the_gpus():
    pod = pod_of(plan_of(asking(gpu_count="3")), GPUS)
    assert containers(pod)["executor-0"]["resources"]["limits"]["nvidia.com/gpu"] == "3"


def test_no_gpus_are_asked_for_by_none():
    assert Policy(GPUS).asked(plan_of(asking(gpu_count="0"))).gpus == {}


# -- namespaces -------------------------------------------------------------------------------------------------------------


PROJECTS = replace(
    SETTINGS,
    namespaces={"bob": "bobs"},
    tag_namespaces=(
        TagNamespace(tag="project", value="x", namespace="project-x", callers=("alice",)),
        TagNamespace(tag="project", value="y", namespace="project-y"),
    ),
)


def in_project(value: str | None) -> Task:
    return Task(executors=executors(), tags={} if value is None else {"project": value})


@pytest.mark.parametrize(
    ("caller", "project", "namespace"),
    [
        ("alice", None, "tasks"),
        ("bob", None, "bobs"),
        ("alice", "x", "project-x"),
        ("alice", "y", "project-y"),
        ("bob", "y", "project-y"),
    ],
)
def test_a_namespace_is_the_callers_or_that_of_a_tag_that_is_listed(caller, project, namespace):
    assert Policy(PROJECTS).asked(plan_of(in_project(project), owner=caller)).namespace == namespace


@pytest.mark.parametrize(("caller", "project"), [("bob", "x"), ("alice", "z"), ("alice", "")])
def test_a_tag_that_is_not_listed_for_its_caller_is_refused(caller, project):
    (problem,) = Policy(PROJECTS).check(in_project(project), caller)
    assert problem.path == "tags.project"
    assert "may not be used here; there are: " in problem.detail


# -- values -----------------------------------------------------------------------------------------------------------------


def test_a_value_stays_a_text_whatever_it_looks_like():
    assert filled({"a": ["$value", {"b": "x$value"}], "c": 1}, "true") == {"a": ["true", {"b": "xtrue"}], "c": 1}


def test_a_value_with_the_word_for_a_number_in_it_is_none():
    assert filled({"a": "$number"}, "$number") is None
    assert filled({"a": "$number"}, "1.5") == {"a": 1.5}
