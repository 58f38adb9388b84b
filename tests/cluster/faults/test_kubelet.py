"""The kubelet of the node dies in the middle, and comes back."""

import threading

import pytest

from cluster.faults.load import Load
from cluster.faults.stage import SEED, Control, Stage

MOMENT = threading.Event()


def dead_for(stage: Stage, control: Control, seconds: float, tasks: int) -> None:
    _, client = stage.serving()
    load = Load(stage, client, SEED, longest_seconds=seconds)
    load.submit(tasks // 2)
    stage.until(lambda pods: sum(pod.status.phase == "Running" for pod in pods) >= 3)
    with control.without("kubelet"):
        load.submit(tasks - tasks // 2)
        MOMENT.wait(seconds)  # for as long as that nobody tells of anything
    for task in load.assert_right():
        # It may die while it starts a container, which goes with it, be it that it waits for its turn already.
        for log in task["logs"][:-1]:
            said = " ".join(log["system_logs"])
            assert "StartError" in said or "its container ended before its program began" in said, task["logs"]


def test_tasks_end_right_though_the_kubelet_is_dead_for_eight_seconds(stage, control):
    dead_for(stage, control, 8, 14)


@pytest.mark.faults
def test_tasks_end_right_though_the_kubelet_is_dead_for_a_minute(stage, control):
    dead_for(stage, control, 60, 40)
