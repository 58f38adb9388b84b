"""What pods of a real cluster (1.34) show, and what is read of it. `pods/` has them, trimmed to what anybody reads."""

import json
from pathlib import Path
from time import gmtime, strftime

import msgspec
import pytest
from msgspec.structs import replace

from tesk.compute.backend import AttemptId, Phase
from tesk.compute.kubernetes.memo import MEMO, VERDICT, Memo, Verdict, text
from tesk.compute.kubernetes.objects import Event, Pod
from tesk.compute.kubernetes.pod_status import container, read
from tesk.compute.kubernetes.results import observation
from tesk.pod_report import read_report
from tesk.settings import KubernetesSettings

PODS = Path(__file__).parent / "pods"
SETTINGS = KubernetesSettings()
NONE = ("", 0.0)
"""What a server has seen of trouble that looked before and saw none."""


def document(name):
    return json.loads((PODS / f"{name}.json").read_text())


def pod(name, *changes):
    """A pod as it was seen, or changed a little: what cannot be had on a cluster that others use, too."""
    found = document(name)
    for change in changes:
        change(found)
    return msgspec.convert(found, Pod, strict=False)


def created(seen):
    return seen.metadata.creation_timestamp.timestamp()


def seen_at(seen, after=60.0, **more):
    return read(seen, now=created(seen) + after, settings=SETTINGS, **more)


def result(seen):
    """What became of an attempt, with what its termination message says."""
    reading = seen_at(seen, 1e6)
    assert reading.over
    end = container(seen, "outputs").state.terminated
    report = read_report((end.message or "").encode()) if end else None
    return observation(AttemptId(seen.metadata.labels["tesk/task"], 1), seen, reading, report)


# -- changes ----------------------------------------------------------------------------------------------------------------
def disrupted(reason, message="", phase=None):
    def change(found):
        condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
        condition["lastTransitionTime"] = found["metadata"]["creationTimestamp"]
        found["status"].setdefault("conditions", []).append(condition)
        found["metadata"]["deletionTimestamp"] = found["metadata"]["creationTimestamp"]
        found["metadata"]["deletionGracePeriodSeconds"] = 0
        if phase:
            found["status"]["phase"] = phase

    return change


def deleted(found):
    found["metadata"]["deletionTimestamp"] = found["metadata"]["creationTimestamp"]


def no_disk_said(found):
    del found["metadata"]["annotations"][MEMO]


def refused(found):
    found["status"] = {
        "phase": "Failed",
        "reason": "OutOfcpu",
        "message": "Pod was rejected: Node didn't have enough cpu",
    }


def with_sidecar(found):
    """A mesh's container, before ours and running for ever: then no pod is ever Succeeded."""
    proxy = {"name": "istio-proxy", "state": {"running": {}}, "imageID": "", "restartCount": 0}
    found["status"]["containerStatuses"].insert(0, proxy)
    found["status"]["phase"] = "Running"


def init_failed(found):
    end = {"exitCode": 125, "reason": "Error", "message": "no space left on device"}
    found["status"]["initContainerStatuses"] = [{"name": "prepare", "state": {"terminated": end}}]
    for each in found["status"]["containerStatuses"]:
        each["state"] = {"waiting": {"reason": "PodInitializing"}}
    found["status"]["phase"] = "Failed"


def init_image_missing(found):
    waiting = {"reason": "ErrImagePull", "message": "rpc error: not found"}
    found["status"]["initContainerStatuses"] = [{"name": "istio-init", "state": {"waiting": waiting}}]


# -- while it goes on -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "phase", "waiting"),
    [
        ("unschedulable", Phase.WAITING, "nodes are available"),
        ("image-not-there", Phase.STAGING, "executors[1]: image no.such.registry/none:1: ErrImagePull: "),
        ("image-back-off", Phase.STAGING, "executors[1]: image no.such.registry/none:2: ErrImagePull: failed to pull"),
        ("config-error", Phase.STAGING, 'executors[0]: CreateContainerConfigError: configmap "none" not found'),
        ("inputs-run", Phase.STAGING, "executors[1]: image no.such.registry/none:4: ErrImagePull: "),
        ("secret-missing", Phase.STAGING, None),
        ("executor-runs", Phase.RUNNING, None),
        ("deleted-not-yet-over", Phase.UPLOADING, None),
    ],
)
def test_how_far_a_pod_is_is_read_of_its_containers(name, phase, waiting) -> None:
    seen = pod(name)
    if name == "deleted-not-yet-over":
        seen = replace(
            seen, status=replace(seen.status, phase="Running", container_statuses=seen.status.container_statuses[:2])
        )
    reading = seen_at(seen, trouble=NONE)
    assert (reading.phase, reading.over, reading.verdict) == (phase, False, None)
    assert waiting is None or waiting in reading.waiting


def test_a_pod_that_waits_for_a_node_says_what_its_task_asks_for() -> None:
    def asks(found):
        known = Memo(images=("i",), cpu_cores=4, ram_bytes=512 * 10**9, disk_bytes=10**10)
        found["metadata"].setdefault("annotations", {})[MEMO] = text(known)

    assert seen_at(pod("unschedulable", asks)).waiting.endswith(
        " (The task asks for 4 cores, 512 GB of memory, 10 GB of disk; its stager for 0.1 cores, 300 MB.)"
    )


def test_a_volume_that_is_being_made_is_no_news_before_it_takes_long() -> None:
    def of_a_claim(found):
        for each in found["status"]["conditions"]:
            each["message"] = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"

    seen = pod("unschedulable", of_a_claim)
    first = seen_at(seen, 1)
    assert (first.phase, first.waiting, first.until) == (Phase.WAITING, None, created(seen) + 10)
    assert "unbound immediate PersistentVolumeClaims" in seen_at(seen, 10).waiting


def test_an_image_is_waited_for_until_a_moment_that_is_said() -> None:
    first = seen_at(pod("image-back-off"))
    assert first.waiting.endswith(f" (waited for until {strftime('%H:%M:%S UTC', gmtime(first.until))})")
    assert seen_at(pod("image-back-off"), 100.0, trouble=first.trouble).waiting == first.waiting


def test_a_pod_whose_inputs_failed_never_seems_to_run() -> None:
    def closed(found):
        for each in found["status"]["containerStatuses"]:
            if each["name"] == "inputs":
                each["state"]["terminated"]["message"] = "closed"

    assert seen_at(pod("executor-runs", closed)).phase is Phase.STAGING


def test_a_pod_that_is_deleted_while_an_image_is_waited_for_never_seems_to_run() -> None:
    def told_to_end(found):
        for each in found["status"]["containerStatuses"]:
            if "running" in each["state"]:
                each["state"] = {"terminated": {"exitCode": 143, "reason": "Error"}}

    before, after = pod("image-not-there"), pod("image-not-there", told_to_end)
    assert {status.name for status in before.status.container_statuses if status.state.running} >= {"inputs", "outputs"}
    assert seen_at(after).phase is Phase.STAGING


@pytest.mark.parametrize(
    ("name", "change", "seconds", "final", "words"),
    [
        ("image-name-invalid", None, 0, True, "executors[0]: image Not A Name: InvalidImageName: "),
        ("image-never-pulled", None, 0, True, "executors[0]: image no.such.registry/none:3: ErrImageNeverPull: "),
        ("image-not-there", None, 300, False, "executors[1]: image no.such.registry/none:1: ErrImagePull: "),
        (
            "image-back-off",
            None,
            300,
            False,
            "executors[1]: image no.such.registry/none:2: ErrImagePull: failed to pull",
        ),
        ("config-error", None, 30, False, "executors[0]: CreateContainerConfigError: "),
        ("inputs-run", init_image_missing, 300, True, "container istio-init: ErrImagePull: rpc error: not found"),
    ],
)
def test_what_cannot_run_is_waited_for_as_long_as_its_reason_says(name, change, seconds, final, words) -> None:
    seen = pod(name, *([change] if change else []))
    first = seen_at(seen, 10, trouble=NONE)
    if seconds == 0:
        ends = first
    else:
        assert first.verdict is None
        assert first.until == created(seen) + 10 + seconds
        assert seen_at(seen, 9 + seconds, trouble=first.trouble).verdict is None
        ends = seen_at(seen, 10 + seconds, trouble=first.trouble)
    assert ends.verdict.phase is Phase.SYSTEM_FAILED
    assert ends.verdict.final is final
    assert ends.verdict.reason.startswith(words)
    assert not ends.over


def test_time_that_is_over_stays_over_while_the_pod_cannot_be_deleted() -> None:
    seen = pod("image-not-there")
    first = seen_at(seen, 10, trouble=NONE)
    ends = seen_at(seen, 310, trouble=first.trouble)
    again = seen_at(seen, 311, trouble=ends.trouble)
    assert (again.verdict, again.waiting) == (ends.verdict, None)


def test_the_time_of_a_trouble_begins_again_when_it_was_over() -> None:
    first = seen_at(pod("image-not-there"), 10, trouble=NONE)
    again = seen_at(pod("config-error"), 1000, trouble=first.trouble)
    assert again.verdict is None
    assert again.trouble[0] == "create"


def test_a_volume_that_cannot_be_mounted_is_found_in_events_and_waited_for_so_long() -> None:
    seen = pod("secret-missing")
    events = msgspec.convert(json.loads((PODS / "secret-missing.events.json").read_text()), list[Event], strict=False)
    without = seen_at(seen)
    assert without.stuck is not None
    assert without.trouble == NONE
    first = seen_at(seen, 20, events=events, trouble=without.trouble)
    assert "A volume cannot be mounted: " in first.waiting
    assert "not found" in first.waiting
    ends = seen_at(seen, 320, events=events, trouble=first.trouble)
    assert ends.verdict.reason.startswith("A volume cannot be mounted: ")
    assert not ends.verdict.final


@pytest.mark.parametrize("started", [None, "1970-01-01T00:00:00Z"])
def test_inputs_that_could_not_start_cannot_come_to_anything(started: str | None) -> None:
    first = seen_at(pod("inputs-run", ended_inputs("StartError", started)), 10)
    assert first.verdict is None
    ends = seen_at(pod("inputs-run", ended_inputs("StartError", started)), 30, trouble=first.trouble)
    assert ends.verdict.reason == "The container inputs could not start: exit code 128 (StartError), context canceled."
    assert not ends.verdict.final


def test_inputs_that_were_killed_have_left_outputs_a_word() -> None:
    seen = pod("executor-runs", ended_inputs("OOMKilled", "2026-11-25T00:00:00Z"))
    assert seen_at(seen, 10).trouble == NONE


def ended_inputs(reason, started):
    over = {"exitCode": 128, "reason": reason, "message": "context canceled"}

    def change(found):
        (inputs,) = [each for each in found["status"]["containerStatuses"] if each["name"] == "inputs"]
        inputs["state"] = {"terminated": over | ({"startedAt": started} if started else {})}

    return change


def test_an_executor_that_ends_before_its_turn_cannot_come_to_anything() -> None:
    def early(found):
        for each in found["status"]["containerStatuses"]:
            if each["name"] == "executor-0":
                each["state"] = {
                    "terminated": {"exitCode": 128, "reason": "StartError", "message": "exec format error"}
                }

    seen = pod("inputs-run", early, lambda found: found["status"]["containerStatuses"].pop(1))
    first = seen_at(seen, 10)
    assert first.verdict is None
    ends = seen_at(seen, 30, trouble=first.trouble)
    assert (
        ends.verdict.reason
        == "executors[0]: its container ended before its turn: exit code 128 (StartError), exec format error."
    )


# -- at its end -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "changes", "phase", "final", "words"),
    [
        ("done", [], Phase.DONE, False, None),
        ("done", [with_sidecar], Phase.DONE, False, None),
        ("failed", [], Phase.EXECUTOR_FAILED, False, None),
        ("failed", [with_sidecar], Phase.EXECUTOR_FAILED, False, None),
        ("out-of-memory", [], Phase.EXECUTOR_FAILED, False, None),
        ("evicted-for-disk", [], Phase.SYSTEM_FAILED, True, "disk full (limit 0.1 GB)"),
        ("evicted-for-disk", [no_disk_said], Phase.SYSTEM_FAILED, True, 'disk full (Usage of EmptyDir volume "work" exceeds the limit "100M"; the task says no disk_gb, which could be more)'),
        ("evicted-by-api", [], Phase.PREEMPTED, False, "The pod was evicted from its node: Eviction API: evicting."),
        ("deleted-by-hand", [], Phase.PREEMPTED, False, "The pod was deleted by somebody else."),
        ("deleted-unscheduled", [], Phase.PREEMPTED, False, "The pod was deleted by somebody else."),
        ("executor-runs", [refused], Phase.PREEMPTED, False, "Its node did not keep the pod: OutOfcpu: Pod was rejected: Node didn't have enough cpu."),
        ("executor-runs", [init_failed], Phase.SYSTEM_FAILED, False, "What prepares the pod failed: exit code 125, no space left on device."),
        ("executor-runs", [disrupted("DeletionByTaintManager")], Phase.PREEMPTED, False, "The node tesk-node was lost, and the pod with it."),
        ("executor-runs", [disrupted("DeletionByPodGC", phase="Failed")], Phase.PREEMPTED, False, "The node tesk-node is gone, and the pod with it."),
        ("executor-runs", [disrupted("PreemptionByScheduler", "to make room for x", "Failed")], Phase.PREEMPTED, False, "The pod had to make room for one of higher priority: to make room for x."),
        ("executor-runs", [disrupted("TerminationByKubelet", "node is low on memory", "Failed")], Phase.PREEMPTED, False, "The pod was ended by its node: node is low on memory."),
    ],
)  # fmt: skip
def test_why_an_attempt_ended_is_said(name, changes, phase, final, words) -> None:
    seen = result(pod(name, *changes))
    assert (seen.phase, seen.final, seen.reason) == (phase, final, words)
    assert not seen.ours


def test_a_pod_of_a_lost_node_is_over_when_its_grace_is_and_any_other_when_its_node_counts_as_lost() -> None:
    lost, other = pod("executor-runs", disrupted("DeletionByTaintManager")), pod("executor-runs", deleted)
    assert [seen_at(lost, after).over for after in (9, 10)] == [False, True]
    assert [seen_at(other, after).over for after in (299, 300)] == [False, True]
    assert seen_at(other, 10).until == created(other) + 300


def test_what_was_written_down_before_a_pod_was_deleted_counts() -> None:
    def condemned(found):
        said = Verdict(phase=Phase.SYSTEM_FAILED, reason="image x: not found", final=True)
        found["metadata"]["annotations"][VERDICT] = text(said)

    seen = result(pod("deleted-by-hand", condemned))
    assert (seen.phase, seen.reason, seen.final) == (Phase.SYSTEM_FAILED, "image x: not found", True)


@pytest.mark.parametrize("clock", ["1996-01-01T00:00:00Z", "2036-01-01T00:00:00Z"])
def test_a_failure_counts_though_the_pod_was_deleted_unless_its_program_was_told_to_end(clock) -> None:
    """Whatever the clocks of the API server and of the node say of which came first."""

    def deleted(found):
        found["metadata"]["deletionTimestamp"] = clock

    def told(found):
        for each in found["status"]["containerStatuses"]:
            end = each["state"]["terminated"]
            end["message"] = end.get("message", "").replace('"exit_code":3', '"exit_code":3,"told":true')

    def killed(found):
        for each in found["status"]["containerStatuses"]:
            end = each["state"]["terminated"]
            end["message"] = end.get("message", "").replace('"exit_code":3', '"killed":true')

    def too_much(found):
        end = next(each for each in found["status"]["containerStatuses"] if each["name"] == "executor-0")
        end["state"]["terminated"]["reason"] = "OOMKilled"

    assert result(pod("failed", deleted)).phase is Phase.EXECUTOR_FAILED
    assert result(pod("failed", deleted, told)).phase is Phase.PREEMPTED
    assert result(pod("failed", told)).phase is Phase.EXECUTOR_FAILED
    assert result(pod("failed", deleted, killed)).phase is Phase.PREEMPTED
    assert result(pod("failed", deleted, killed, too_much)).phase is Phase.EXECUTOR_FAILED


def test_an_executor_that_ran_out_of_memory_ends_with_137_and_says_so() -> None:
    seen = result(pod("out-of-memory"))
    assert [log.exit_code for log in seen.executor_logs] == [137]
    assert "executors[0]: out of memory (limit 0.05 GB)." in seen.notes


def test_where_an_attempt_ran_and_of_what_is_kept() -> None:
    facts = result(pod("done")).metadata
    assert facts["executors.0.image"] == "debian"
    assert facts["executors.0.image_digest"].startswith("sha256:")
    assert facts["kubernetes.node"] == "tesk-node"
    assert facts["kubernetes.pod"].endswith("-1")


def test_a_report_that_was_lost_with_its_pod_is_missed() -> None:
    seen = pod("executor-runs", disrupted("DeletionByPodGC", phase="Failed"))
    states = tuple(
        replace(each, state=container(pod("failed"), "executor-0").state) if each.name == "executor-0" else each
        for each in seen.status.container_statuses
    )
    lost = result(replace(seen, status=replace(seen.status, container_statuses=states)))
    assert lost.notes == ("What the pod reported was lost with it: its streams and output files are not known.",)


def test_nothing_is_missed_of_a_pod_that_went_before_any_program_ran() -> None:
    seen = pod("inputs-run", disrupted("DeletionByPodGC", phase="Failed"))
    over = container(pod("failed"), "executor-0").state
    states = tuple(replace(each, state=over) for each in seen.status.container_statuses if each.name != "inputs")
    early = result(replace(seen, status=replace(seen.status, container_statuses=states)))
    assert (early.phase, early.notes) == (Phase.PREEMPTED, ())


def test_of_what_stands_in_annotations_only_our_own_is_kept() -> None:
    def written(found):
        found["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = "[...]"

    assert pod("done", written).metadata.annotations.keys() == {MEMO}
