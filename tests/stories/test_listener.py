"""Who waits at a listener hears of each end once: `tesk serve` and `tesk listener` as users start them."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from fakes.listening import listener_process
from fakes.pods import STAGER, all_gone
from fakes.process import running
from fakes.stubborn import Client

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "callbacks.py"
SECRET, OTHER = (f"whsec_{base64.b64encode(each * 32).decode()}" for each in (b"k", b"o"))
MANY, FEW = 20, 6


@pytest.fixture
def server(tmp_path):
    with running(tmp_path, CALLBACKS_RETRY_SECONDS="0.1") as server:
        yield server


@pytest.fixture
def tes(server):
    with closing(Client(server.url)) as client:
        yield client


@pytest.fixture(params=["local", "containers", pytest.param("kubernetes", marks=pytest.mark.cluster)])
def somewhere(request, tmp_path):
    """Give a server on each backend."""
    more = {}
    if request.param == "containers":
        request.getfixturevalue("engine")
        more = {"CONTAINERS_NETWORK": "off", "CONTAINERS_PULL": "never"}
    elif request.param == "kubernetes":
        more = {
            "KUBERNETES_NAMESPACE": request.getfixturevalue("pods_namespace"),
            "KUBERNETES_SERVER_ID": f"test-{uuid.uuid4().hex[:12]}",
            "KUBERNETES_STAGER_IMAGE": STAGER,
            "KUBERNETES_STAGER_CPU_CORES": "0.05",
        }
    with running(tmp_path, BACKEND=request.param, DEFAULTS_CPU_CORES="0.1", DEFAULTS_RAM_GB="0.1", **more) as server:
        yield server
        if request.param == "kubernetes":
            # A server that ends leaves to the next one what it has not taken away yet.
            asyncio.run(all_gone(more["KUBERNETES_NAMESPACE"]))


def test_the_example_prints_each_end_once_and_asks_nothing_while_it_waits(somewhere, tmp_path):
    with listener_process(tmp_path / "listener") as listener:
        env = {name: value for name, value in os.environ.items() if not name.startswith("TESK_")}
        done = subprocess.run(
            [sys.executable, EXAMPLE, str(MANY), somewhere.url, listener.url],
            env=env | {"IMAGE": "debian"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    ends = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert len({line.split()[0] for line in ends}) == len(ends) == MANY
    assert {line.split()[1] for line in ends} == {"COMPLETE"}
    with urllib.request.urlopen(somewhere.url + "/metrics", timeout=30) as answer:
        counted = [line for line in answer.read().decode().splitlines() if line.startswith("tesk_http_requests_total")]
    assert not [line for line in counted if 'method="GET"' in line and "tasks" in line]


def test_a_listener_that_is_killed_misses_no_end(server, tes, tmp_path):
    with listener_process(tmp_path / "listener") as listener:
        url = listener.subscribe()["callback_url"]
        tasks = [tes.submit("true", callback_url=url) for _ in range(FEW)]
        listener.wait(tasks[0])
        listener.kill()
        tasks += [tes.submit("true", callback_url=url) for _ in range(FEW)]
        tes.until(tasks[-1])
        listener.start()
        for task in tasks:
            assert listener.wait(task)["state"] == "COMPLETE"
            assert listener.ask("GET", f"/webhook/{task}") == (200, "COMPLETE")


def test_a_task_of_which_nothing_comes_is_asked_for(server, tes, tmp_path):
    with listener_process(tmp_path / "listener", QUIET_SECONDS="0.5", SERVER=server.url) as listener:
        task = tes.submit("true")
        assert listener.wait(task)["state"] == "COMPLETE"


def signed(secret, body, *, name="m", age=0):
    when = int(time.time()) - age
    return {
        "webhook-id": name,
        "webhook-timestamp": str(when),
        "webhook-signature": Webhook(secret).sign(name, datetime.fromtimestamp(when, UTC), json.dumps(body)),
    }


def test_only_what_a_known_key_has_signed_not_long_ago_is_believed(tmp_path):
    with listener_process(tmp_path, KEYS=f"{OTHER},{SECRET}") as listener:
        body = {"id": "t", "state": "RUNNING", "sequence": 3}

        def post(said, headers):
            return listener.ask("POST", "/webhook", json.dumps(said).encode(), headers)[0]

        good = signed(SECRET, body)
        assert post(body, {}) == 401
        assert post(body | {"state": "COMPLETE"}, good) == 401
        assert post(body, signed(f"whsec_{base64.b64encode(b'x' * 32).decode()}", body)) == 401
        assert post(body, signed(SECRET, body, age=3600)) == 401
        assert post(body, signed(SECRET, body, age=-3600)) == 401
        assert listener.ask("GET", "/webhook/t")[0] == 404
        assert post(body, good) == 204
        assert post(body, good) == 204
        end, late = body | {"state": "COMPLETE", "sequence": 4}, body | {"state": "QUEUED", "sequence": 1}
        assert post(end, signed(OTHER, end)) == 204
        assert post(late, signed(SECRET, late)) == 204
        assert post(body, good) == 204
        assert listener.ask("GET", "/webhook/t") == (200, "COMPLETE")
        said = listener.ask("GET", "/metrics")[1]
        for verdict, times in (("news", 2), ("duplicate", 1), ("late", 2)):
            assert f'tesk_listener_callbacks_total{{verdict="{verdict}"}} {times}' in said


def test_who_waits_at_one_listener_is_woken_by_a_callback_to_another(tmp_path, postgres_url):
    with (
        listener_process(tmp_path / "a", DATABASE=postgres_url) as one,
        listener_process(tmp_path / "b", DATABASE=postgres_url) as other,
    ):
        path = other.subscribe()["callback_url"].removeprefix(other.url)
        told = []
        waits = threading.Thread(target=lambda: told.append(one.ask("GET", "/tasks/t?wait=50")))
        waits.start()
        while "tesk_listener_waiters 1" not in one.ask("GET", "/metrics")[1]:
            pass
        began = time.monotonic()
        assert other.ask("POST", path, {"id": "t", "state": "COMPLETE"})[0] == 204
        waits.join(60)
        assert told[0][1]["state"] == "COMPLETE"
        assert time.monotonic() - began < 10
