"""Images that are taken from the node while a task runs, between its executors and between its attempts."""

import time
from datetime import datetime

import pytest

from cluster.faults.stage import FIRST_ONLY, Stage


def test_an_image_that_is_removed_between_executors_is_not_missed(stage: Stage, node_images):
    # All containers of a pod are there before the first one has its turn.
    image = node_images.named()
    _, client = stage.serving()
    task = stage.task("sleep 5", output="between")
    task["executors"].append({"image": image, "command": ["sh", "-c", "hostname"]})
    task_id = client.submit(**task)
    stage.running(task_id)
    node_images.remove(image)
    removed = time.time()
    (shown,) = stage.assert_right(client, {task_id: "COMPLETE between"})
    (log,) = shown["logs"]
    first, second = log["logs"]
    assert datetime.fromisoformat(second["start_time"]).timestamp() > removed, "it was removed too late to say anything"
    assert (first["exit_code"], second["exit_code"], second["stdout"]) == (0, 0, f"{task_id}-1\n")


@pytest.mark.parametrize("policy", ["IfNotPresent", "Never"])
def test_an_image_that_is_removed_before_the_next_attempt_is_named(stage: Stage, node_images, policy):
    image = node_images.named()
    _, client = stage.serving(KUBERNETES_IMAGE_WAIT_SECONDS="1", KUBERNETES_PULL_POLICY=policy)
    task = stage.task(FIRST_ONLY, output=f"again-{policy}")
    task["executors"][0]["image"] = image
    task_id = client.submit(**task)
    pod = stage.running(task_id)
    node_images.remove(image)
    path = stage.path("pods", pod.metadata.name)
    stage.asked(lambda: stage.api.delete(path))
    (shown,) = stage.assert_right(client, {task_id: "SYSTEM_ERROR"})
    lost, *_, last = shown["logs"]  # a registry that is not there may come back, so some more were tried
    assert "deleted by somebody else" in " ".join(lost["system_logs"])
    said = " ".join(last["system_logs"])
    assert f"executors[0]: image {image}: " in said, said
    assert ("ErrImageNeverPull" if policy == "Never" else "ErrImagePull") in said, said
    assert last.get("outputs", []) == []
