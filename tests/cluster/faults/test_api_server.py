"""The API server goes away and comes back, and forgets what it told before."""

import random
import threading

import pytest

from cluster.etcd import compact, store_of_the_cluster
from cluster.faults.load import Load
from cluster.faults.stage import SEED, Control, Stage
from fakes.left_in_cluster import Kept

MOMENT = threading.Event()


def killed_again_and_again(stage: Stage, control: Control, *, tasks: int, kills: int) -> None:
    stage.shelf  # noqa: B018  made while the API server is there
    # A kubelet that lost its API server mounts the secrets of many pods late, each try later than the one before.
    stage.patience_seconds *= 5
    _, client = stage.serving(KUBERNETES_VOLUME_WAIT_SECONDS="900")
    load = Load(stage, client, SEED)
    dice = random.Random(SEED + 1)
    for number in range(kills):
        load.submit(tasks // kills + (number < tasks % kills))
        MOMENT.wait(dice.uniform(0.0, 4.0))  # no signal to wait for: any moment will do, that is the point
        with control.without("kube-apiserver"):
            MOMENT.wait(dice.uniform(0.0, 3.0))
        stage.pods()
    assert len(load.ends) == tasks
    for task in load.assert_right():
        # Nothing of it was lost: who waits for an API server needs no second attempt.
        assert [log["system_logs"] for log in task["logs"][:-1]] == []


def test_tasks_end_right_though_the_api_server_is_killed_three_times(stage, control):
    killed_again_and_again(stage, control, tasks=30, kills=3)


@pytest.mark.faults
def test_three_hundred_tasks_end_right_though_the_api_server_is_killed_twenty_times(stage, control):
    killed_again_and_again(stage, control, tasks=300, kills=20)


def test_a_watch_whose_past_was_compacted_away_goes_on_with_a_list(stage, control):
    etcd = store_of_the_cluster()
    if etcd is None:
        pytest.skip("CLUSTER_ETCD names no etcd (http://127.0.0.1:2379) that may be compacted")
    stage.shelf  # noqa: B018  made while the API server is there
    _, client = stage.serving()
    task_id = stage.submit(client, "sleep 10", output="compacted")
    stage.running(task_id)
    assert client.until(task_id, "RUNNING") == "RUNNING"
    # Others' changes: of none of them the watch hears, and the version that it has becomes an old one.
    path = stage.path("configmaps")
    stage.run(stage.api.create(path, {"metadata": {"name": "busy"}}, Kept))
    for number in range(200):
        body = {"data": {"number": str(number)}}
        last = stage.run(stage.api.patch(f"{path}/busy", body, Kept)).metadata.resource_version
    with control.without("kube-apiserver"):
        compact(etcd, int(last))
    stage.pods()
    stage.assert_right(client, {task_id: "COMPLETE compacted"})
    # The cluster's controllers lost their past as well, and take most of a minute to try again, in which they take away
    # nothing that a pod owned, and give no account to the namespace of the next test. Begun anew they look at once.
    with control.without("kube-controller-manager"):
        pass
