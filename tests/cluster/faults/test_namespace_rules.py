"""A namespace with rules of its own: what it has room for, what it puts into pods, what it asks of them."""

import contextlib
from collections.abc import Iterator
from typing import Any

from cluster.attempts import BUSYBOX
from cluster.faults import webhook
from cluster.faults.stage import Stage
from fakes.left_in_cluster import Kept
from tesk.compute.kubernetes.credentials import find
from tesk.compute.kubernetes.objects import path_of


@contextlib.contextmanager
def made(stage: Stage, path: str, manifest: dict[str, Any]) -> Iterator[str]:
    """Have an object for as long as the block lasts; yields its path."""
    own = f"{path}/{manifest['metadata']['name']}"
    stage.asked(lambda: stage.api.create(path, manifest, Kept))
    try:
        yield own
    finally:
        stage.asked(lambda: stage.api.delete(own))


def quota(pods: int) -> dict[str, Any]:
    return {"metadata": {"name": "few"}, "spec": {"hard": {"pods": str(pods)}}}


def test_tasks_wait_for_a_quota_and_go_on_when_it_is_lifted(stage: Stage):
    _, client = stage.serving()
    stage.shelf  # noqa: B018  the one pod that there is room for
    with made(stage, stage.path("resourcequotas"), quota(1)) as place:
        stage.quota_counted()
        first = {stage.submit(client, output=f"few-{n}"): f"COMPLETE few-{n}" for n in range(3)}
        for task_id in first:
            assert client.until(task_id, "INITIALIZING") == "INITIALIZING"
            stage.until_said(client, task_id, "exceeded quota")
        assert stage.pods() == []
        # With room for two more they go one after the other.
        stage.asked(lambda: stage.api.patch(place, {"spec": {"hard": {"pods": "3"}}}, Kept))
        more = {stage.submit(client, output=f"more-{n}"): f"COMPLETE more-{n}" for n in range(4)}
        for task in stage.assert_right(client, first | more):
            assert [log["system_logs"] for log in task["logs"][:-1]] == []


def test_tasks_run_in_a_namespace_with_a_limit_range(stage: Stage):
    limits = {
        "type": "Container",
        "min": {"cpu": "10m", "memory": "16Mi"},
        "max": {"cpu": "1", "memory": "512Mi"},
        "default": {"cpu": "500m", "memory": "128Mi"},
        "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
    }
    manifest = {"metadata": {"name": "bounds"}, "spec": {"limits": [limits]}}
    with made(stage, stage.path("limitranges"), manifest):
        _, client = stage.serving(KUBERNETES_LEAST_CPU_CORES="0.01", KUBERNETES_LEAST_RAM_GB="0.017")
        task_id = stage.submit(client, "true", "true", output="bounded")
        stage.assert_right(client, {task_id: "COMPLETE bounded"})


def test_tasks_run_where_a_webhook_puts_containers_beside_theirs_and_wait_while_it_is_broken(stage: Stage, tmp_path):
    stage.shelf  # noqa: B018  without a sidecar
    # At its start a server tries out a pod, and asks the webhook with it.
    with webhook.serving(tmp_path, find().server, BUSYBOX) as hook:
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": f"tesk-test-{stage.server_id}"},
            "webhooks": [
                {
                    "name": "sidecar.tesk.test",
                    "clientConfig": {"url": hook.url, "caBundle": hook.authority},
                    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}},
                    "objectSelector": {"matchLabels": {"tesk/server": stage.server_id}},
                    "failurePolicy": "Fail",
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "timeoutSeconds": 5,
                }
            ],
        }  # fmt: skip
        path = path_of("mutatingwebhookconfigurations", group="admissionregistration.k8s.io/v1")
        with made(stage, path, configuration):
            _, client = stage.serving()
            hook.broken.set()
            ends = {stage.submit(client, "true", "true", output=f"mesh-{n}"): f"COMPLETE mesh-{n}" for n in range(2)}
            bad = stage.submit(client, "exit 3", output="mesh-bad")
            canceled = stage.submit(client, "sleep 600")
            for task_id in ends:
                stage.until_said(client, task_id, "sidecar.tesk.test")
            hook.broken.clear()
            stage.running(canceled)
            client.cancel(canceled)
            for task in stage.assert_right(client, ends | {bad: "EXECUTOR_ERROR mesh-bad", canceled: "CANCELED"}):
                assert [log["system_logs"] for log in task["logs"][:-1]] == []
            assert hook.asked >= 4
