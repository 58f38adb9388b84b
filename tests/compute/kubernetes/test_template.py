"""The merge of parts into a pod, and what a template may say."""

import json

import pytest
from hypothesis import given
from hypothesis import settings as bounds
from hypothesis import strategies as st

from fakes.manifests import containers, executors, mounts, plan_of, pod_of, volumes
from tesk.compute.kubernetes.checked import read_template
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.template import merged
from tesk.errors import CannotRun, StartError
from tesk.settings import KubernetesSettings, ParameterRule
from tesk.tes.task import Resources, Task

_FEW = bounds(max_examples=60, deadline=None)
_NAMES = st.sampled_from(["a", "b", "env", "volumes", "imagePullSecrets", "labels"])
_SCALARS = st.one_of(st.integers(0, 9), st.text("xy", max_size=3), st.booleans())
_ENTRIES = st.fixed_dictionaries(
    {"name": st.sampled_from(["p", "q", "r"])}, optional={"value": _SCALARS, "k": _SCALARS}
)


def _objects(values):
    return st.dictionaries(_NAMES, values, max_size=4)


_DOCUMENTS = st.recursive(
    _objects(st.one_of(_SCALARS, st.lists(_ENTRIES, max_size=3, unique_by=lambda entry: entry["name"]))),
    lambda inner: _objects(st.one_of(_SCALARS, inner)),
    max_leaves=8,
)


@_FEW
@given(_DOCUMENTS, _DOCUMENTS)
def test_merging_twice_is_merging_once(document, patch):
    once = merged(document, patch)
    assert merged(once, patch) == once


@_FEW
@given(_DOCUMENTS, _DOCUMENTS)
def test_merging_changes_neither_side(document, patch):
    before = json.dumps([document, patch])
    merged(document, patch)
    assert json.dumps([document, patch]) == before


@_FEW
@given(_DOCUMENTS)
def test_nothing_changes_nothing(document):
    assert merged(document, {}) == document


@_FEW
@given(_DOCUMENTS)
def test_a_patch_on_nothing_is_itself(patch):
    assert merged({}, patch) == patch


@_FEW
@given(_DOCUMENTS, _DOCUMENTS)
def test_what_a_patch_does_not_name_stays(document, patch):
    result = merged(document, patch)
    for key in document.keys() - patch.keys():
        assert result[key] == document[key]


@_FEW
@given(st.lists(_ENTRIES, max_size=4, unique_by=lambda entry: entry["name"]), _ENTRIES)
def test_entries_with_a_key_keep_their_order_and_are_never_doubled(entries, entry):
    result = merged({"env": entries}, {"env": [entry]})["env"]
    names = [each["name"] for each in entries]
    assert [each["name"] for each in result] == names + [entry["name"]] * (entry["name"] not in names)


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ({"a": {"x": 1}}, {"a": {"$patch": "replace", "y": 2}}, {"a": {"y": 2}}),
        ({"args": [1, 2]}, {"args": [3]}, {"args": [3]}),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A", "$patch": "delete"}]}, {"env": []}),
        (
            {"containers": [{"name": "executor-0"}, {"name": "outputs"}, {"name": "executor-1"}]},
            {"containers": [{"name": "executor", "x": 1}]},
            {"containers": [{"name": "executor-0", "x": 1}, {"name": "outputs"}, {"name": "executor-1", "x": 1}]},
        ),
    ],
)
def test_the_merge_is_kubernetes_own(document, patch, result):
    assert merged(document, patch) == result


# -- the template -----------------------------------------------------------------------------------------------------------

PROXIES = """
metadata:
  annotations: {example.org/team: data}
spec:
  schedulerName: mine
  containers:
  - name: inputs
    env: [{name: https_proxy, value: "http://proxy:3128"}]
  - name: executor
    volumeMounts: [{name: references, mountPath: /references, readOnly: true}]
  volumes:
  - name: references
    persistentVolumeClaim: {claimName: references, readOnly: true}
  - name: work
    emptyDir: {medium: Memory}
"""


def test_a_template_is_merged_into_every_pod():
    pod = pod_of(plan_of(Task(executors=executors(2))), template=PROXIES)
    assert pod["metadata"]["annotations"] == {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "example.org/team": "data",
    }
    assert pod["spec"]["schedulerName"] == "mine"
    assert containers(pod)["inputs"]["env"] == [{"name": "https_proxy", "value": "http://proxy:3128"}]
    for name in ("executor-0", "executor-1"):
        assert mounts(pod, name)["/references"]["readOnly"] is True
        assert "/.tesk/run" in mounts(pod, name)
    assert volumes(pod)["work"]["emptyDir"]["medium"] == "Memory"


def test_data_that_is_to_lie_in_memory_does_whatever_the_storage_class():
    rule = ParameterRule(
        name="memory", patch={"spec": {"volumes": [{"name": "work", "emptyDir": {"medium": "Memory"}}]}}
    )
    settings = KubernetesSettings(storage_class="fast", parameters=(rule,))
    task = Task(executors=executors(), resources=Resources(backend_parameters={"memory": "yes"}))
    assert volumes(pod_of(plan_of(task), settings))["work"] == {"name": "work", "emptyDir": {"medium": "Memory"}}
    assert "ephemeral" in volumes(pod_of(plan_of(), settings))["work"]


def test_a_path_of_the_task_where_the_template_mounts_something_is_named():
    task = Task(executors=executors(), volumes=("/references",))
    with pytest.raises(CannotRun, match=r"/references: the settings mount something of their own there"):
        pod_of(plan_of(task), template=PROXIES)


def test_a_whole_pod_may_be_given():
    whole = {"apiVersion": "v1", "kind": "Pod", "spec": {"schedulerName": "mine"}}
    assert read_template(json.dumps(whole)) == {"spec": {"schedulerName": "mine"}}


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("[", "is neither YAML nor JSON"),
        ("[]", "must be an object with metadata, spec, or both"),
        ("status: {}", "there is no status; a pod has metadata and spec"),
        ("spec: {nodeSelektor: {}}", "spec.nodeSelektor: there is no such field, or it cannot be set"),
        (
            "spec: {activeDeadlineSeconds: 5}",
            "spec.activeDeadlineSeconds cannot be set: time limits are kept by the server",
        ),
        ("spec: {hostNetwork: true}", "spec.hostNetwork cannot be set"),
        ("spec: {shareProcessNamespace: true}", "spec.shareProcessNamespace cannot be set"),
        ("metadata: {finalizers: []}", "metadata.finalizers cannot be set"),
        ("metadata: {labels: {tesk/task: x}}", "metadata.labels.tesk/task is TESK's own"),
        ("metadata: {labels: {a: 1}}", "metadata.labels.a must be a text: write it in quotes"),
        ("spec: {containers: [{name: executor, command: [x]}]}", "spec.containers[executor].command cannot be set"),
        ("spec: {containers: [{name: outputs, image: x}]}", "spec.containers[outputs].image cannot be set"),
        ("spec: {containers: [{name: sidecar, image: x}]}", "there is no container 'sidecar'"),
        (
            "spec: {containers: [{name: inputs, ressources: {}}]}",
            "spec.containers[inputs].ressources: there is no such",
        ),
        ("spec: {containers: {name: x}}", "spec.containers must be a list of objects"),
        (
            "spec: {containers: [{name: executor, volumeMounts: [{name: job, mountPath: /x}]}]}",
            "the volume job is TESK's own",
        ),
        (
            "spec: {containers: [{name: executor, volumeMounts: [{name: x, mountPath: /.tesk/run}]}]}",
            "/.tesk/run cannot be",
        ),
        ("spec: {volumes: [{name: control, emptyDir: {}}]}", "spec.volumes: control is TESK's own"),
        ("spec: {volumes: [{name: work, hostPath: {path: /}}]}", "spec.volumes: work is TESK's own"),
        ("spec: {volumes: null}", "spec.volumes cannot be taken away"),
        ("spec: {$patch: replace}", "spec.$patch: there is no such field"),
        ("spec: {containers: [{name: executor, volumeMounts: null}]}", "volumeMounts cannot be taken away"),
        ("spec: {containers: [{name: inputs, $patch: delete}]}", "$patch: there is no such field"),
        ("metadata: {labels: {$patch: replace}}", "metadata.labels.$patch is TESK's own"),
        ("spec: {volumes: [{name: work, emptyDir: null}]}", "spec.volumes: work is TESK's own"),
        ("spec: {tolerations: x}", "spec.tolerations must be a list of objects"),
    ],
)
def test_what_a_template_may_not_say_is_named_at_the_start(template, says):
    with pytest.raises(StartError) as error:
        read_template(template)
    assert str(error.value).startswith("kubernetes.pod_template: ")
    assert says in str(error.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(StartError) as error:
        read_template("spec: {restartPolicy: Always, hostPID: true}")
    assert len(str(error.value).splitlines()) == 2


def test_the_patch_of_a_parameter_is_checked_as_well():
    rule = ParameterRule(name="x", patch={"spec": {"hostPID": True}})
    with pytest.raises(StartError, match=r"kubernetes\.parameters\[0\]\.patch: spec\.hostPID cannot be set"):
        Policy(KubernetesSettings(parameters=(rule,)))


# -- what no template can do ------------------------------------------------------------------------------------------------

_ODD = st.one_of(st.none(), st.just("delete"), st.just("replace"), st.text("ab", max_size=2), st.just([]), st.just({}))
_PATHS = st.sampled_from(["/.tesk/run", "/.tesk", "/tesk/job/stager", "/ref", "/data", "/"])
_MOUNTS = st.fixed_dictionaries(
    {"mountPath": _PATHS}, optional={"name": st.sampled_from(["work", "job", "ref"]), "$patch": _ODD, "subPath": _ODD}
)
_CONTAINERS = st.fixed_dictionaries(
    {"name": st.sampled_from(["inputs", "outputs", "executor", "executor-0", "executor-1", "more"])},
    optional={
        "$patch": _ODD,
        "command": _ODD,
        "image": _ODD,
        "env": st.one_of(_ODD, st.lists(_ENTRIES, max_size=2)),
        "securityContext": _ODD,
        "volumeMounts": st.one_of(_ODD, st.lists(_MOUNTS, max_size=2)),
    },
)
_VOLUMES = st.fixed_dictionaries(
    {"name": st.sampled_from(["work", "control", "job", "shim", "ref"])},
    optional={"$patch": _ODD, "emptyDir": st.one_of(_ODD, st.just({"medium": "Memory"})), "hostPath": _ODD},
)
_PATCHES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.dictionaries(
            st.sampled_from(["labels", "annotations", "finalizers", "$patch"]),
            st.one_of(_ODD, st.dictionaries(st.sampled_from(["tesk/task", "team", "$patch"]), _ODD, max_size=2)),
            max_size=2,
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "$patch": _ODD,
                "restartPolicy": _ODD,
                "hostPID": _ODD,
                "tolerations": _ODD,
                "containers": st.one_of(_ODD, st.lists(_CONTAINERS, max_size=2)),
                "volumes": st.one_of(_ODD, st.lists(_VOLUMES, max_size=2)),
            },
        ),
        "kind": st.sampled_from(["Pod", "Job"]),
    },
)


@bounds(max_examples=300, deadline=None)
@given(_PATCHES)
def test_no_template_that_is_taken_takes_away_what_tesk_lives_by(patch):
    try:
        read_template(json.dumps(patch))
    except StartError:
        return
    plan = plan_of(Task(executors=executors(2), volumes=("/data",)))
    try:
        plain, pod = pod_of(plan), pod_of(plan, template=json.dumps(patch))
    except CannotRun:
        return
    assert pod["metadata"].items() >= {key: plain["metadata"][key] for key in ("name", "finalizers")}.items()
    assert pod["metadata"]["labels"].items() >= plain["metadata"]["labels"].items()
    assert list(containers(pod)) == list(containers(plain))
    for name, container in containers(plain).items():
        merged_one = containers(pod)[name]
        assert (merged_one["command"], merged_one["image"]) == (container["command"], container["image"])
        there = mounts(pod, name)
        assert all(there[path] == mount for path, mount in mounts(plain, name).items())
    for name in ("control", "job", "shim"):
        assert volumes(pod)[name] == volumes(plain)[name]
    assert len({"emptyDir", "ephemeral"} & volumes(pod)["work"].keys()) == 1
    for key in ("restartPolicy", "automountServiceAccountToken", "enableServiceLinks", "tolerations"):
        assert pod["spec"][key] == plain["spec"][key]
    assert not pod["spec"].keys() & {"hostPID", "hostNetwork", "shareProcessNamespace"}
