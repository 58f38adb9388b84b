"""A release of the chart in a real cluster, as its admin and its users see it: by helm, kubectl and `tesk`."""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.attempts import NEVER_PULLED, STAGER
from fakes.process import PROGRAM
from seaweed import DIES_WITH_US
from tesk import __version__

CHART = Path(__file__).parents[2] / "chart"
SERVER = os.environ.get("SERVER_IMAGE", f"docker.io/tesk/server:{__version__}")
PYTHON = os.environ.get("PYTHON_IMAGE", "docker.io/library/python:3.11-slim")
WAIT_SECONDS = 120
LITTLE = {
    "stager_cpu_cores": 0.01,
    "stager_ram_gb": 0.1,
    "grace_seconds": 2,
}
"""Settings with which many pods find room on a small node, and go soon."""


def kubectl(*words: str, given: object = None) -> str:
    """Run kubectl and return what it prints; fails with its words. `given`: an object for its stdin."""
    done = subprocess.run(
        ["kubectl", *words],
        input=None if given is None else json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS + 30,
    )
    assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def shown(*words: str) -> list[dict[str, Any]]:
    """Return the items of `kubectl get WORDS`."""
    found = json.loads(kubectl("get", *words, "--output", "json"))
    items: list[dict[str, Any]] = found.get("items", [found])
    return items


def tools() -> None:
    """Skip where a release cannot be made."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster to install the chart in")
    for name in ("helm", "kubectl"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not on PATH, by which the chart is installed")


@contextlib.contextmanager
def namespace(level: str = "") -> Iterator[str]:
    """Make a namespace, which enforces a Pod Security Standard where one is named, and delete it in the end."""
    name = f"tesk-chart-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": level} if level else {}
    kubectl(
        "create",
        "-f",
        "-",
        given={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
    )
    # Without its account no pod is taken.
    kubectl("-n", name, "wait", "--for=create", "serviceaccount/default", "--timeout=60s")
    try:
        yield name
    finally:
        for pod in kubectl("-n", name, "get", "pods", "--output", "name").split():
            # What a failed test left would keep the namespace for ever.
            subprocess.run(
                ["kubectl", "-n", name, "patch", pod, "-p", '{"metadata": {"finalizers": null}}'],
                check=False,
                capture_output=True,
            )
        kubectl("delete", "namespace", name, "--wait=false")


def images() -> None:
    """Skip where the cluster has no images of ours: a pod of both says so."""
    with namespace() as name:
        made = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "images"},
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {"name": f"n{number}", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["true"]}
                    for number, image in enumerate((SERVER, STAGER, PYTHON))
                ],
            },
        }
        kubectl("-n", name, "create", "-f", "-", given=made)
        watch = subprocess.Popen(
            ["kubectl", "-n", name, "get", "pod", "images", "--watch", "--output", "json", f"--request-timeout={WAIT_SECONDS}s"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            for pod in _documents(watch):
                states = [each["state"] for each in pod["status"].get("containerStatuses", ())]
                if missing := [state for state in states if state.get("waiting", {}).get("reason") in NEVER_PULLED]:
                    pytest.skip(
                        f"the cluster has no image of ours (`make images`, then load it): {missing[0]['waiting'].get('message')}"
                    )
                if states and all("terminated" in state for state in states):
                    return
        finally:
            watch.kill()
            watch.wait()
            assert watch.stdout is not None
            watch.stdout.close()
        pytest.fail("the cluster runs no pods")


def _documents(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    decoder, text = json.JSONDecoder(), ""
    for line in process.stdout:
        text += line
        with contextlib.suppress(ValueError):
            found, _ = decoder.raw_decode(text)
            text = ""
            yield found


@dataclass
class Reached:
    """A server as its users reach it."""

    url: str
    token: str
    folder: Path
    namespace: str

    def tesk(self, *words: str, code: int = 0) -> str:
        """Run `tesk` and return what it prints; fails where it ends with another code."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("TESK_")}
        env |= {"TESK_SERVER": self.url, "TESK_TOKEN": self.token, "TESK_CONFIG": os.devnull}
        try:
            done = subprocess.run(
                [PROGRAM, *words],
                env=env,
                cwd=self.folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=WAIT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            pytest.fail(f"tesk {' '.join(words)} takes too long\n{state_of(self.namespace)}")
        assert done.returncode == code, f"tesk {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def submit(self, task: dict[str, Any]) -> str:
        """Submit a task and return its id."""
        path = self.folder / f"{uuid.uuid4().hex}.json"
        path.write_text(json.dumps(task))
        return self.tesk("submit", str(path)).strip()

    def get(self, task_id: str) -> dict[str, Any]:
        """Return all of a task."""
        [found] = yaml.safe_load_all(self.tesk("get", task_id, "--output-format", "json"))
        task: dict[str, Any] = found
        return task

    def ended(self, task_id: str, state: str = "COMPLETE") -> dict[str, Any]:
        """Wait for the end of a task, which is `state`; return all of it."""
        self.tesk("wait", task_id, code=0 if state == "COMPLETE" else 1)
        task = self.get(task_id)
        assert task["state"] == state, task
        return task


class Release:
    """A release called tesk in a namespace of its own. `values` go over those of all tests."""

    def __init__(self, place: str, folder: Path, **values: object) -> None:
        self.namespace = place
        self._folder = folder
        repository, _, tag = SERVER.rpartition(":")
        stager, _, stager_tag = STAGER.rpartition(":")
        self._values: dict[str, Any] = {
            "image": {"repository": repository, "tag": tag},
            "stagerImage": {"repository": stager, "tag": stager_tag},
            "settings": {
                "kubernetes": LITTLE,
                "defaults": {"cpu_cores": 0.02, "ram_gb": 0.05},
                "storage": {"private_addresses": True},
            },
        }
        _merge(self._values, values)

    def helm(self, *words: str) -> str:
        """Run helm on the release and return what it prints; fails with its words."""
        done = subprocess.run(
            ["helm", *words, "--namespace", self.namespace],
            capture_output=True, text=True, check=False, timeout=WAIT_SECONDS + 60,
        )  # fmt: skip
        if done.returncode:
            pytest.fail(f"helm {' '.join(words)}: {done.stdout}{done.stderr}\n{state_of(self.namespace)}")
        return done.stdout

    def install(self, *, wait: bool = True, **values: object) -> str:
        """Install it, or change it, and wait until its pods are ready where `wait` says so. `values` go over those that it has."""
        _merge(self._values, values)
        path = self._folder / "values.json"
        path.write_text(json.dumps(self._values))
        waits = ("--wait", f"--timeout={WAIT_SECONDS}s") if wait else ()
        return self.helm("upgrade", "--install", "tesk", str(CHART), "--values", str(path), *waits)

    def uninstall(self) -> None:
        """Remove it, and wait until its pods are gone."""
        self.helm("uninstall", "tesk", "--wait", f"--timeout={WAIT_SECONDS}s")

    def pods(self, part: str = "server") -> list[dict[str, Any]]:
        """Return the pods of the servers."""
        return shown("pods", "-n", self.namespace, "-l", f"app.kubernetes.io/component={part}")

    def secret(self, name: str, key: str = "token") -> str:
        """Return what a secret holds."""
        [secret] = shown("secret", name, "-n", self.namespace)
        return base64.b64decode(secret["data"][key]).decode()

    @contextlib.contextmanager
    def forwarded(self, service: str) -> Iterator[str]:
        """Give an address by which a service is reached from here, for as long as the block. It leads to one pod."""
        forward = subprocess.Popen(
            [*DIES_WITH_US, "kubectl", "-n", self.namespace, "port-forward", f"service/{service}", ":80", "--address", "127.0.0.1"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert forward.stdout is not None
        try:
            said = forward.stdout.readline()
            port = said.partition("127.0.0.1:")[2].partition(" ")[0]
            assert port.isdecimal(), said
            yield f"http://127.0.0.1:{port}"
        finally:
            forward.kill()
            forward.wait()
            forward.stdout.close()

    @contextlib.contextmanager
    def reached(self) -> Iterator[Reached]:
        """Reach the server from here, for as long as the block."""
        with self.forwarded("tesk") as url:
            yield Reached(url, self.secret("tesk-token"), self._folder, self.namespace)


def state_of(place: str) -> str:
    """Return what a person would look at where something is not as it should be."""
    pods = kubectl("-n", place, "get", "pods,jobs", "--output", "wide")
    logs = subprocess.run(
        ["kubectl", "-n", place, "logs", "-l", "app.kubernetes.io/name=tesk", "--tail=20", "--prefix"],
        capture_output=True,
        text=True,
        check=False,
    )
    events = kubectl("-n", place, "get", "events", "--field-selector", "type=Warning")
    return f"{pods}{logs.stdout}{events}"


def left_in(place: str) -> list[str]:
    """Return all objects of a namespace but those that every namespace has, and what is only told of it."""
    kinds = [
        each
        for each in kubectl("api-resources", "--namespaced", "--verbs=list", "--output", "name").split()
        if not each.startswith("events") and not each.endswith(".metrics.k8s.io")
    ]
    names = kubectl("-n", place, "get", ",".join(kinds), "--output", "name", "--ignore-not-found").split()
    return [each for each in names if each not in ("configmap/kube-root-ca.crt", "serviceaccount/default")]


def host_address(pod: dict[str, Any]) -> str:
    """Return an address of this machine by which pods reach it: from which it would speak to one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.connect((pod["status"]["podIP"], 9))
        return str(line.getsockname()[0])


def _merge(values: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            values[key] = dict(values[key])
            _merge(values[key], value)
        else:
            values[key] = value
