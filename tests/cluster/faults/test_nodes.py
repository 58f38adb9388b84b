"""Nodes that are lost, and more tasks at once than there is room for: on nodes that only seem to be."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from cluster.faults.fake_nodes import fake_nodes, template
from cluster.faults.stage import PATIENCE_SECONDS, Stage
from fakes.stubborn import Client
from tesk.compute.kubernetes.objects import Pod, path_of


def test_the_attempts_of_a_node_that_is_deleted_are_tried_elsewhere(stage: Stage, tmp_path):
    with fake_nodes(stage, tmp_path, 2) as names:
        _, client = stage.serving(KUBERNETES_POD_TEMPLATE=template(stage, 1000))
        tasks = [stage.submit(client) for _ in range(6)]

        def all_run(pods: list[Pod]) -> dict[str, str]:
            nodes = {pod.metadata.name: pod.spec.node_name for pod in pods if pod.status.phase == "Running"}
            return nodes if len(nodes) == len(tasks) else {}

        nodes = stage.until(all_run)
        gone = nodes[f"{tasks[0]}-1"]
        stage.asked(lambda: stage.api.delete(path_of("nodes", name=gone)))
        lost = [task_id for task_id in tasks if nodes[f"{task_id}-1"] == gone]
        for task_id in lost:
            stage.until(lambda pods, task_id=task_id: any(pod.metadata.name == f"{task_id}-2" for pod in pods))
        (other,) = set(names) - {gone}
        soon = {"metadata": {"annotations": {"tesk.test/seconds": "0"}}}
        for pod in stage.pods():
            path = stage.path("pods", pod.metadata.name)
            stage.asked(lambda path=path: stage.api.patch(path, soon, Pod))
        for task in stage.assert_right(client, dict.fromkeys(tasks, "COMPLETE")):
            where = [log["metadata"]["kubernetes.node"] for log in task["logs"]]
            if task["id"] in lost:
                assert where == [gone, other]
                assert f"The node {gone}" in " ".join(task["logs"][0]["system_logs"])
            else:
                assert where == [other]
        stage.assert_nothing_is_left()


def flooded(stage: Stage, tmp_path, amount: int, seconds: float) -> None:
    with fake_nodes(stage, tmp_path, 4):
        server, _ = stage.serving(KUBERNETES_POD_TEMPLATE=template(stage, 1), KUBERNETES_PENDING_LIMIT="200")

        def submit(some: range) -> list[str]:
            with closing(Client(server.url, PATIENCE_SECONDS)) as one:
                return [stage.submit(one) for _ in some]

        with ThreadPoolExecutor(8) as pool:
            tasks = [task_id for some in pool.map(submit, [range(amount // 8)] * 8) for task_id in some]
        with closing(Client(server.url, seconds)) as patient:
            stage.assert_right(patient, dict.fromkeys(tasks, "COMPLETE"))
        stage.assert_nothing_is_left(seconds)


def test_a_flood_of_four_hundred_tasks_ends_with_nothing_left(stage: Stage, tmp_path):
    flooded(stage, tmp_path, 400, 120)


@pytest.mark.faults
def test_a_flood_of_five_thousand_tasks_ends_with_nothing_left(stage: Stage, tmp_path):
    flooded(stage, tmp_path, 5000, 1200)
