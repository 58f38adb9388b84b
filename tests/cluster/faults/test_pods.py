"""Pods that others delete, evict, starve, or cannot start. A lost attempt is followed by another one, in a TaskLog of its own."""

import pytest

from cluster.faults.stage import FIRST_ONLY, Stage
from fakes.left_in_cluster import Kept
from tesk.compute.kubernetes.objects import Pod


def first_two(task):
    """Return the TaskLogs of a task of two attempts."""
    assert len(task["logs"]) == 2, task["logs"]
    return task["logs"]


@pytest.mark.parametrize("grace_seconds", [None, 0])
def test_a_pod_that_somebody_deletes_is_followed_by_another_attempt(stage: Stage, grace_seconds):
    _, client = stage.serving()
    task_id = stage.submit(client, FIRST_ONLY, output=f"deleted-{grace_seconds}")
    pod = stage.running(task_id)
    path = stage.path("pods", pod.metadata.name)
    stage.asked(lambda: stage.api.delete(path, grace_seconds=grace_seconds))
    (task,) = stage.assert_right(client, {task_id: f"COMPLETE deleted-{grace_seconds}"})
    lost, _ = first_two(task)
    assert "deleted by somebody else" in " ".join(lost["system_logs"])


def test_the_claims_of_all_attempts_go_with_their_pods(stage: Stage):
    _, client = stage.serving(KUBERNETES_EMPTY_DIR_LIMIT_GB="0.001")
    resources = {"cpu_cores": 0.05, "ram_gb": 0.02, "disk_gb": 0.01}
    task_id = stage.submit(client, FIRST_ONLY, output="claimed", resources=resources)
    pod = stage.running(task_id)
    stage.asked(lambda: stage.api.get(stage.path("persistentvolumeclaims", f"{pod.metadata.name}-work"), Kept))
    stage.asked(lambda: stage.api.delete(stage.path("pods", pod.metadata.name)))
    first_two(*stage.assert_right(client, {task_id: "COMPLETE claimed"}))


def test_a_pod_that_is_evicted_by_the_api_is_followed_by_another_attempt(stage: Stage):
    _, client = stage.serving()
    task_id = stage.submit(client, FIRST_ONLY, output="evicted")
    name = stage.running(task_id).metadata.name
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    stage.asked(lambda: stage.api.create(stage.path("pods", name, part="eviction"), eviction, Kept))
    (task,) = stage.assert_right(client, {task_id: "COMPLETE evicted"})
    lost, _ = first_two(task)
    assert "evicted" in " ".join(lost["system_logs"])


def test_pods_that_go_away_in_every_phase_leave_tasks_that_end_right(stage: Stage):
    _, client = stage.serving()
    ends = {
        stage.submit(client, "sleep 0.5", "sleep 0.5", output=f"phase-{number}"): f"COMPLETE phase-{number}"
        for number in range(6)
    }
    deleted: set[str] = set()

    def delete_one(pods: list[Pod]) -> bool:
        # Of each task the first attempt, each in another phase, as they come.
        for pod in pods:
            if pod.metadata.name.endswith("-1") and pod.metadata.name not in deleted:
                shown = sum(bool(one.state.terminated) for one in pod.status.container_statuses)
                if shown >= len(deleted) % 3:
                    deleted.add(pod.metadata.name)
                    path = stage.path("pods", pod.metadata.name)
                    stage_deletes.append(path)
                    return True
        return len(deleted) == len(ends)

    stage_deletes: list[str] = []
    while len(deleted) < len(ends) and not all(client.get(task_id)["state"] == "COMPLETE" for task_id in ends):
        stage.until(delete_one, seconds=60)
        while stage_deletes:
            path = stage_deletes.pop()
            stage.asked(lambda path=path: stage.api.delete(path, grace_seconds=1))
    stage.assert_right(client, ends)


def test_a_program_that_takes_too_much_memory_is_an_error_of_its_own(stage: Stage):
    _, client = stage.serving()
    # It fills memory, and the lines of busybox's awk have no bound.
    greedy = "awk 'BEGIN { text = \"x\"; while (1) text = text text }'"
    task_id = stage.submit(client, greedy, output="greedy", resources={"cpu_cores": 0.01, "ram_gb": 0.05})
    client.until(task_id, "EXECUTOR_ERROR")
    task = client.get(task_id, "FULL")
    (log,) = task["logs"]
    assert log["logs"][0]["exit_code"] == 137
    assert "out of memory (limit 0.05 GB)" in " ".join(log["system_logs"]), log


def test_an_image_that_is_missing_ends_a_task_before_anything_of_it_runs(stage: Stage):
    _, client = stage.serving(KUBERNETES_IMAGE_WAIT_SECONDS="1")
    task = stage.task("true", output="missing")
    task["executors"].append({"image": "docker.io/library/nothing-of-that-name:1", "command": ["true"]})
    task_id = client.submit(**task)
    assert client.until(task_id) == "SYSTEM_ERROR"
    log = client.get(task_id, "FULL")["logs"][-1]
    assert "nothing-of-that-name" in " ".join(log["system_logs"]), log
    assert log.get("logs", []) == []
    assert log.get("outputs", []) == []


def test_a_secret_that_is_deleted_while_its_task_runs_harms_nothing(stage: Stage):
    _, client = stage.serving()
    task_id = stage.submit(client, "sleep 3", "sleep 1", output="secret")
    name = stage.running(task_id).metadata.name
    stage.asked(lambda: stage.api.delete(stage.path("secrets", name)))
    (task,) = stage.assert_right(client, {task_id: "COMPLETE secret"})
    assert [log["system_logs"] for log in task["logs"][:-1]] == []


def test_a_secret_that_is_deleted_before_its_pod_has_it_costs_at_most_an_attempt(stage: Stage):
    # No node takes the pod before its gate is taken away, so its secret is gone when the kubelet wants it.
    gated = '{"spec": {"schedulingGates": [{"name": "tesk.test/wait"}]}}'
    _, client = stage.serving(KUBERNETES_POD_TEMPLATE=gated, KUBERNETES_VOLUME_WAIT_SECONDS="5")
    task_id = stage.submit(client, output="early")

    def gate(number: int) -> str:
        name = f"{task_id}-{number}"
        stage.until(lambda pods: any(pod.metadata.name == name for pod in pods))
        return name

    first = gate(1)
    secret = stage.path("secrets", first)

    async def delete_secret() -> None:
        await stage.api.delete(secret)

    stage.found(secret)
    stage.asked(delete_secret)
    opened = {"spec": {"schedulingGates": []}}
    stage.asked(lambda: stage.api.patch(stage.path("pods", first), opened, Kept))
    second = gate(2)
    stage.asked(lambda: stage.api.patch(stage.path("pods", second), opened, Kept))
    (task,) = stage.assert_right(client, {task_id: "COMPLETE early"})
    lost, _ = first_two(task)
    assert "volume cannot be mounted" in " ".join(lost["system_logs"]), lost
