"""While a task waits and runs in a real cluster, people see why, and what it prints, over HTTP."""

import json
import subprocess

import pytest

from cluster.attempts import BUSYBOX, STAGER
from fakes.process import running
from fakes.served import until
from fakes.typed import Typed

SMALL = ("--cpu", "0.05", "--ram", "0.1")


@pytest.fixture(scope="module")
def url(pods_namespace, tmp_path_factory):
    settings = {
        "BACKEND": "kubernetes",
        "KUBERNETES_NAMESPACE": pods_namespace,
        "KUBERNETES_STAGER_IMAGE": STAGER,
        "KUBERNETES_SERVER_ID": "live",
        "LOCAL_NETWORK": None,
        "SHUTDOWN_GRACE": None,
    }
    with running(tmp_path_factory.mktemp("server"), **settings) as server:
        yield server.url


@pytest.fixture
def tesk(url, tmp_path):
    return Typed(tmp_path, url)


def test_why_a_task_waits_is_said_at_once_in_the_schedulers_words(tesk):
    task = tesk("run", "-d", "--image", BUSYBOX, "--cpu", "5000", "true").stdout.strip()
    until(lambda: "nodes are available" in tesk("get", task).stderr, seconds=30)
    shown = json.loads(tesk("get", task, "-o", "json").stdout)
    assert shown["state"] == "INITIALIZING"
    assert any("Insufficient cpu" in line for line in shown["logs"][0]["system_logs"])
    assert "Insufficient cpu" in tesk("get", task, "-o", "table").stdout
    assert tesk("cancel", task, "--wait").stdout == f"{task} CANCELED\n"


def test_what_a_pod_prints_is_followed_while_it_runs(tesk):
    script = "echo one; sleep 3; echo two; echo bad >&2"
    task = tesk("run", "-d", "--image", BUSYBOX, *SMALL, "--", "sh", "-c", script).stdout.strip()
    process = tesk.start("logs", "-f", task, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "one\n"
    assert json.loads(tesk("get", task, "-o", "json").stdout)["state"] in ("INITIALIZING", "RUNNING")
    rest, said = process.communicate(timeout=60)
    assert (sorted(rest.splitlines()), process.returncode) == (["bad", "two"], 0), said
    assert tesk("wait", task).stdout == f"{task} COMPLETE\n"
    parted = tesk("logs", task)
    assert (parted.stdout, parted.stderr) == ("one\ntwo\n", "bad\n")
