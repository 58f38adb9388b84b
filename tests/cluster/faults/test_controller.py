"""The controller dies at random moments, and its successor goes on."""

import random
import threading

import pytest

from cluster.faults.load import Load
from cluster.faults.stage import SEED, Stage

MOMENT = threading.Event()
TASKS_PER_KILL = 3


def killed_again_and_again(stage: Stage, kills: int) -> None:
    server, client = stage.serving()
    load = Load(stage, client, SEED)
    dice = random.Random(SEED + 1)
    for _ in range(kills):
        load.submit(TASKS_PER_KILL)
        MOMENT.wait(dice.uniform(0.0, 2.5))  # no signal to wait for: any moment will do, that is the point
        server.kill()
        server.start()
    server.wait_until_ready()
    for task in load.assert_right():
        # Pods outlive their server: what ran goes on, what was made twice is adopted.
        assert [log["system_logs"] for log in task["logs"][:-1]] == []


def test_tasks_end_right_though_the_server_is_killed_eight_times(stage):
    killed_again_and_again(stage, 8)


@pytest.mark.faults
def test_tasks_end_right_though_the_server_is_killed_a_hundred_times(stage):
    killed_again_and_again(stage, 100)
