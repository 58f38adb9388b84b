"""`tesk render`: what would be created in a cluster, without one."""

import json

import pytest
import yaml

TASK = """\
name: sums
inputs: [{path: /data/in, url: "s3://ours/in"}]
executors:
- {image: busybox, command: [sh, -c, "echo $(A)"], env: {A: "1"}}
"""
SETTINGS = """\
[storage]
http_proxy = "http://user:proxysecret@proxy:3128"
[[storage.s3]]
bucket = "ours"
access_key_id = "id"
secret_access_key = "topsecret"
[kubernetes]
namespace = "tasks"
server_id = "here"
[[kubernetes.parameters]]
name = "queue"
values = ["fast"]
patch = { queue = "$value" }
"""


@pytest.fixture
def render(tesk, tmp_path):
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "config.toml").write_text(SETTINGS)
    return lambda *words: tesk("render", "--config", "config.toml", *words, "task.yaml")


def test_pod_and_secret_are_printed_without_the_values_of_credentials(render):
    done = render("--attempt", "3")
    pod, secret = yaml.safe_load_all(done.stdout)
    assert (pod["kind"], secret["kind"]) == ("Pod", "Secret")
    assert pod["metadata"]["name"] == secret["metadata"]["name"] == f"{'0' * 26}-3"
    job = json.loads(secret["stringData"]["stager"])
    assert job["settings"]["s3"][0]["secret_access_key"] == "***"
    assert job["settings"]["s3"][0]["access_key_id"] == "id"
    assert "secret@" not in done.stdout
    assert "topsecret" not in done.stdout
    assert json.loads(secret["stringData"]["executor-0"])["command"] == ["sh", "-c", "echo $(A)"]


def test_a_queue_gets_a_job(render):
    job, _ = yaml.safe_load_all(render("--set", "resources.backend_parameters.queue=fast").stdout)
    assert (job["kind"], job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]) == ("Job", "fast")


def test_what_is_wrong_is_said_with_its_place_and_nothing_is_printed(render):
    done = render("--set", "resources.backend_parameters.queue=slow")
    assert (done.returncode, done.stdout) == (2, "")
    assert "resources.backend_parameters.queue: 'slow' may not be used here; there are: fast" in done.stderr


def test_a_path_that_no_pod_can_show_is_named(render):
    done = render("--set", "inputs.0.path=/proc/x")
    assert done.returncode == 2
    assert "inputs[0].path: /proc/x lies in /proc" in done.stderr


def test_a_template_that_cannot_be_is_named(tesk, tmp_path):
    (tmp_path / "task.yaml").write_text(TASK)
    done = tesk("render", "task.yaml", TESK_KUBERNETES_POD_TEMPLATE="spec: {hostPID: true}")
    assert done.returncode == 1
    assert "kubernetes.pod_template: spec.hostPID cannot be set" in done.stderr
