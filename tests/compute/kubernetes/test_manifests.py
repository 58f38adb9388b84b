"""What a pod is made of, trap by trap."""

import pytest
from msgspec.structs import replace

from fakes.manifests import ATTEMPT, SETTINGS, containers, executors, mounts, plan_of, pod_of, volumes
from tesk.compute.kubernetes.layout import NEWEST, Layout, chosen
from tesk.compute.kubernetes.manifests import job_manifest
from tesk.errors import CannotRun
from tesk.settings import KubernetesSettings, ParameterRule
from tesk.tes.task import Executor, FileType, Input, Output, Resources, Task

COPYING, IMAGE = Layout(), Layout(image_volume=True, image_subpath=True)
NO_DISK = {"ephemeral-storage": "0"}
RESTRICTED = replace(SETTINGS, security="restricted", run_as_user=1234)


def test_a_pod_is_called_as_its_attempt_and_says_whose_it_is():
    pod = pod_of()
    assert pod["metadata"] == {
        "name": f"{ATTEMPT.task_id}-2",
        "namespace": "tasks",
        "labels": {
            "app.kubernetes.io/managed-by": "tesk",
            "tesk/task": ATTEMPT.task_id,
            "tesk/attempt": "2",
            "tesk/server": "here",
        },
        "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
        "finalizers": ["tesk/result"],
    }


def test_the_containers_stand_in_the_order_in_which_they_work():
    pod = pod_of(plan_of(Task(executors=executors(3))))
    assert [each["name"] for each in pod["spec"]["containers"]] == [
        "inputs",
        "executor-0",
        "executor-1",
        "executor-2",
        "outputs",
    ]


def test_an_image_that_was_looked_up_stands_in_the_place_of_its_name():
    pod = pod_of(plan_of(Task(executors=executors(2))), images={1: "quay.io/found/it:1"})
    assert [containers(pod)[f"executor-{n}"]["image"] for n in (0, 1)] == ["image-0", "quay.io/found/it:1"]


# -- trap 4, 8: the shim, and commands --------------------------------------------------------------------------------------


def test_trap_8_no_word_of_a_command_or_environment_stands_in_the_pod():
    words = Executor(image="busybox", command=("sh", "-c", "echo $(SECRET)"), env={"SECRET": "hush"})
    pod = pod_of(plan_of(Task(executors=(words,))))
    assert "hush" not in str(pod)
    assert "SECRET" not in str(pod)
    assert containers(pod)["executor-0"]["command"] == ["/.tesk/shim/tesk-shim", "run"]


def test_trap_8_names_of_files_in_the_init_container_are_not_expanded():
    task = Task(executors=executors(stdout="/etc/$(HOSTNAME)$$"))
    pod = pod_of(plan_of(task), layout=IMAGE)
    assert containers(pod)["prepare"]["command"] == [
        "/shim/tesk-shim",
        "prepare",
        "/tesk/work/root/etc/$$(HOSTNAME)$$$$",
    ]


def test_with_an_image_volume_there_is_no_init_container():
    pod = pod_of(layout=IMAGE)
    assert "initContainers" not in pod["spec"]
    assert volumes(pod)["shim"]["image"] == {"reference": "tesk/stager:1", "pullPolicy": "IfNotPresent"}
    assert mounts(pod, "executor-0")["/.tesk/shim"] == {
        "name": "shim",
        "mountPath": "/.tesk/shim",
        "readOnly": True,
        "subPath": "shim",
    }


def test_an_image_volume_without_folders_of_its_own_is_mounted_whole():
    pod = pod_of(layout=Layout(image_volume=True))
    assert containers(pod)["executor-0"]["command"] == ["/.tesk/shim/shim/tesk-shim", "run"]
    assert "subPath" not in mounts(pod, "executor-0")["/.tesk/shim"]


def test_the_copying_layout_copies_the_shim_before_all_else():
    pod = pod_of(layout=COPYING)
    (prepare,) = pod["spec"]["initContainers"]
    assert prepare["command"] == ["/shim/tesk-shim", "prepare", "--install", "/tesk/shim"]
    assert prepare["volumeMounts"] == [{"name": "shim", "mountPath": "/tesk/shim"}]
    assert "emptyDir" in volumes(pod)["shim"]


@pytest.mark.parametrize("layout", [COPYING, IMAGE])
def test_single_files_are_made_before_any_container_is(layout):
    task = Task(
        executors=executors(),
        inputs=(Input(path="/etc/app.conf", content="x", type=FileType.FILE),),
        outputs=(Output(path="/opt/result", url="s3://bucket/result", type=FileType.FILE),),
    )
    pod = pod_of(plan_of(task), layout=layout)
    files = containers(pod)["prepare"]["command"][-2:]
    assert files == ["/tesk/work/root/etc/app.conf", "/tesk/work/root/opt/result"]
    assert mounts(pod, "prepare")["/tesk/work"]["name"] == "work"
    assert mounts(pod, "executor-0")["/etc/app.conf"]["subPath"] == "root/etc/app.conf"


def test_executors_see_the_folders_of_their_task_at_their_places():
    task = Task(executors=executors(workdir="/somewhere"), volumes=("/scratch",))
    found = mounts(pod_of(plan_of(task)), "executor-0")
    assert found["/scratch"] == {"name": "work", "mountPath": "/scratch", "subPath": "root/scratch"}
    assert found["/.tesk/workdir/0"]["subPath"] == "root/somewhere"
    assert "/somewhere" not in found


def test_a_path_of_ours_is_no_path_of_a_task():
    with pytest.raises(CannotRun, match=r"/\.tesk/run lies in /\.tesk"):
        pod_of(plan_of(Task(executors=executors(), volumes=("/.tesk/run",))))


# -- trap 15, 21, 14: what ends a pod ---------------------------------------------------------------------------------------


def test_trap_14_a_pod_leaves_a_silent_node_after_the_time_that_is_set():
    pod = pod_of(settings=replace(SETTINGS, node_lost_seconds=77))
    assert [(each["key"], each["effect"], each["tolerationSeconds"]) for each in pod["spec"]["tolerations"]] == [
        ("node.kubernetes.io/not-ready", "NoExecute", 77),
        ("node.kubernetes.io/unreachable", "NoExecute", 77),
    ]


def test_trap_15_an_autoscaler_leaves_pods_alone():
    assert pod_of()["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_trap_21_kubernetes_keeps_no_time_limit():
    task = Task(executors=executors(), resources=Resources(backend_parameters={"time_limit_seconds": "5"}))
    assert "activeDeadlineSeconds" not in pod_of(plan_of(task))["spec"]


def test_a_pod_is_one_attempt_and_has_the_grace_that_is_set():
    spec = pod_of(settings=replace(SETTINGS, grace_seconds=12))["spec"]
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"]) == ("Never", 12)


# -- trap 19: security ------------------------------------------------------------------------------------------------------


def test_trap_19_executors_get_no_token_no_service_links_and_no_secret_of_the_stager():
    pod = pod_of(settings=replace(SETTINGS, identity_audience="sts.amazonaws.com", identity_role="arn:x"))
    spec = pod["spec"]
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    seen = mounts(pod, "executor-0")
    assert {each["name"] for each in seen.values()} == {"shim", "control", "job"}
    assert seen["/.tesk/job/job"]["subPath"] == "executor-0"
    assert seen["/.tesk/run"]["subPath"] == "executors/0"
    assert mounts(pod, "inputs")["/tesk/identity"]["readOnly"] is True
    assert mounts(pod, "inputs")["/tesk/job/stager"]["subPath"] == "stager"


@pytest.mark.parametrize("name", ["inputs", "outputs", "prepare"])
def test_trap_19_ours_read_what_anybody_wrote_and_can_do_nothing_else(name):
    assert containers(pod_of())[name]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER"]},
        "runAsUser": 0,
        "runAsGroup": 0,
        "runAsNonRoot": False,
    }


def test_trap_19_executors_are_who_their_image_says_without_raw_sockets():
    pod = pod_of()
    assert pod["spec"]["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert containers(pod)["executor-0"]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["NET_RAW"]},
    }


def test_trap_20_under_restricted_everybody_is_one_user_with_nothing():
    pod = pod_of(settings=RESTRICTED)
    assert pod["spec"]["securityContext"] == {
        "seccompProfile": {"type": "RuntimeDefault"},
        "runAsNonRoot": True,
        "runAsUser": 1234,
        "runAsGroup": 1234,
        "fsGroup": 1234,
        "fsGroupChangePolicy": "OnRootMismatch",
    }
    for container in containers(pod).values():
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert "runAsUser" not in container["securityContext"]


# -- trap 20, 17, 22: resources ---------------------------------------------------------------------------------------------


def test_executors_come_one_after_the_other_so_they_are_counted_once():
    pod = pod_of(plan_of(Task(executors=executors(3)), cores=2, ram=4 * 10**9))
    asked = {name: each["resources"]["requests"] for name, each in containers(pod).items()}
    assert asked["executor-0"] == {"cpu": "2000m", "memory": "4000000000", **NO_DISK}
    assert asked["outputs"] == {"cpu": "100m", "memory": "300000000", **NO_DISK}
    for name in ("executor-1", "executor-2", "inputs", "prepare"):
        assert asked[name] == {"cpu": "0", "memory": "0", **NO_DISK}


def test_a_pod_asks_for_all_itself_where_the_cluster_can():
    pod = pod_of(plan_of(Task(executors=executors(2)), cores=2, ram=4 * 10**9), layout=NEWEST)
    whole = {"cpu": "2100m", "memory": "4300000000"}
    assert pod["spec"]["resources"] == {"requests": whole, "limits": whole}
    for container in containers(pod).values():
        assert container["resources"]["requests"] == {"cpu": "0", "memory": "0", **NO_DISK}


@pytest.mark.parametrize("layout", [COPYING, NEWEST])
def test_trap_6_every_executor_has_the_memory_of_the_task_as_its_own_limit(layout):
    pod = pod_of(plan_of(Task(executors=executors(2)), ram=123_000_000), layout=layout)
    for name in ("executor-0", "executor-1"):
        assert containers(pod)[name]["resources"]["limits"]["memory"] == "123000000"


@pytest.mark.parametrize("layout", [COPYING, NEWEST])
@pytest.mark.parametrize("disk", [0, 5 * 10**9])
def test_trap_20_no_limit_range_finds_anything_that_we_did_not_say(layout, disk):
    for container in containers(pod_of(plan_of(Task(executors=executors(2)), disk=disk), layout=layout)).values():
        resources = container["resources"]
        assert resources["requests"].keys() == {"cpu", "memory", "ephemeral-storage"}
        assert resources["limits"].keys() == {"cpu", "memory", "ephemeral-storage"}


def test_trap_20_a_limit_range_with_a_least_amount_can_be_kept():
    pod = pod_of(settings=replace(SETTINGS, least_cpu_cores=0.01, least_ram_gb=0.02))
    assert containers(pod)["inputs"]["resources"]["requests"] == {"cpu": "10m", "memory": "20000000", **NO_DISK}


def test_trap_20_a_pod_asks_for_no_less_than_its_containers_and_none_for_more_than_it_may_have():
    settings = replace(SETTINGS, least_cpu_cores=0.5, least_ram_gb=1)
    pod = pod_of(plan_of(Task(executors=executors(8)), cores=0.1, ram=1), settings, NEWEST)
    assert pod["spec"]["resources"]["requests"] == {"cpu": "5000m", "memory": "10000000000"}
    assert containers(pod)["executor-3"]["resources"]["limits"] == {
        "cpu": "500m",
        "memory": "1000000000",
        "ephemeral-storage": "100000000000",
    }


def test_a_container_has_the_memory_that_it_takes_to_start_one():
    pod = pod_of(plan_of(ram=1000))
    assert containers(pod)["executor-0"]["resources"]["limits"]["memory"] == str(16 * 1024 * 1024)


def test_trap_17_disk_up_to_a_bound_is_the_nodes_own():
    pod = pod_of(plan_of(Task(executors=executors(2)), disk=10 * 10**9))
    assert volumes(pod)["work"] == {"name": "work", "emptyDir": {"sizeLimit": "10000000000"}}
    asked = {name: each["resources"]["requests"]["ephemeral-storage"] for name, each in containers(pod).items()}
    assert asked == {"prepare": "0", "inputs": "0", "executor-0": "10000000000", "executor-1": "0", "outputs": "0"}


@pytest.mark.parametrize(("most", "limit"), [(100.0, {"sizeLimit": "100000000000"}), (0.0, {})])
def test_a_task_that_says_no_disk_may_fill_so_much_of_a_nodes_and_asks_for_none(most, limit):
    pod = pod_of(plan_of(), replace(SETTINGS, disk_limit_gb=most))
    assert volumes(pod)["work"] == {"name": "work", "emptyDir": limit}
    resources = containers(pod)["executor-0"]["resources"]
    assert resources["requests"]["ephemeral-storage"] == "0"
    assert resources["limits"].get("ephemeral-storage") == limit.get("sizeLimit")


def test_a_volume_size_that_was_asked_for_counts_as_disk():
    resources = Resources(backend_parameters={"size": "20"})
    settings = replace(SETTINGS, parameters=(ParameterRule(name="size", patch={"volume_gb": "$value"}),))
    pod = pod_of(plan_of(Task(executors=executors(), resources=resources)), settings)
    assert volumes(pod)["work"]["emptyDir"]["sizeLimit"] == "20000000000"
    assert containers(pod)["executor-0"]["resources"]["requests"]["ephemeral-storage"] == "20000000000"


def test_trap_17_more_disk_is_a_volume_that_goes_with_the_pod():
    pod = pod_of(plan_of(disk=101 * 10**9))
    assert volumes(pod)["work"]["ephemeral"] == {
        "volumeClaimTemplate": {
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "101000000000"}},
            }
        }
    }
    assert containers(pod)["executor-0"]["resources"]["requests"]["ephemeral-storage"] == "0"


def test_trap_17_with_a_storage_class_all_disk_is_a_volume():
    pod = pod_of(settings=replace(SETTINGS, storage_class="fast", volume_gb=3))
    claim = volumes(pod)["work"]["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("fast", "3000000000")


def test_trap_22_gpus_belong_to_the_executor_that_is_named():
    resources = Resources(backend_parameters={"gpu_count": "2", "gpu_executor": "1"})
    settings = replace(SETTINGS, gpu_resource="nvidia.com/gpu")
    pod = pod_of(plan_of(Task(executors=executors(2), resources=resources)), settings)
    found = {name: each["resources"]["limits"].get("nvidia.com/gpu") for name, each in containers(pod).items()}
    assert found == {"prepare": None, "inputs": None, "executor-0": None, "executor-1": "2", "outputs": None}
    assert containers(pod)["executor-1"]["resources"]["requests"]["nvidia.com/gpu"] == "2"


def test_fractions_of_cores_are_given_as_they_are():
    pod = pod_of(plan_of(cores=0.25))
    assert containers(pod)["executor-0"]["resources"]["limits"]["cpu"] == "250m"


@pytest.mark.parametrize("layout", [COPYING, NEWEST])
def test_the_stager_of_a_small_task_may_use_more_than_it_asks_for_and_executors_may_not(layout):
    pod = pod_of(plan_of(cores=0.05), replace(SETTINGS, stager_cpu_limit_cores=0.5), layout)
    cores = {name: each["resources"]["limits"]["cpu"] for name, each in containers(pod).items()}
    assert [cores["inputs"], cores["executor-0"], cores["outputs"]] == ["500m", "50m", "500m"]
    if layout is NEWEST:
        assert pod["spec"]["resources"]["requests"]["cpu"] == "150m"
        assert pod["spec"]["resources"]["limits"]["cpu"] == "500m"


# -- settings ---------------------------------------------------------------------------------------------------------------


def test_registries_are_asked_as_the_settings_say():
    pod = pod_of(settings=replace(SETTINGS, pull_policy="Always", pull_secrets=("a", "b"), service_account="runner"))
    assert pod["spec"]["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]
    assert pod["spec"]["serviceAccountName"] == "runner"
    assert {each["imagePullPolicy"] for each in containers(pod).values()} == {"Always"}


def test_a_forced_layout_wins_over_what_the_cluster_can():
    assert chosen(KubernetesSettings(), NEWEST) == NEWEST
    assert chosen(KubernetesSettings(shim="copy", pod_resources="off"), NEWEST) == Layout(image_subpath=True)
    assert chosen(KubernetesSettings(shim="image", pod_resources="on"), Layout()) == Layout(
        image_volume=True, pod_resources=True
    )


def test_kueue_gets_a_suspended_job_whose_pod_is_never_made_twice():
    pod = pod_of()
    job = job_manifest(pod, "batch")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "batch"
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == (pod["metadata"]["name"], "tasks")
    spec = job["spec"]
    assert (spec["suspend"], spec["backoffLimit"], spec["podReplacementPolicy"]) == (True, 0, "Failed")
    assert spec["template"]["spec"] == pod["spec"]
    assert spec["template"]["metadata"] == {
        key: pod["metadata"][key] for key in ("labels", "annotations", "finalizers")
    }
