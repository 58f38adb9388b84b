"""A client that never asks: a task's `callback_url` is told of each state, by `tesk serve` as a user starts it."""

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from standardwebhooks import Webhook

from fakes.listener import listening
from fakes.process import PROGRAM, running
from fakes.stubborn import Client
from tesk.signature import verify

SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
PRIVATE = f"whsk_{base64.b64encode(b'p' * 32).decode()}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    keys = json.dumps([{"secret": SECRET}, {"secret": PRIVATE}])
    with running(tmp_path_factory.mktemp("server"), CALLBACKS_KEYS=keys, CALLBACKS_RETRY_SECONDS="0.1") as server:
        yield server


def get(server, path):
    with urllib.request.urlopen(server.url + path, timeout=30) as answer:
        return json.loads(answer.read())


def test_each_state_of_a_task_is_told_signed_and_shown_among_its_deliveries(server, client):
    with listening() as listener:
        task = client.submit("echo", "hello", callback_url=listener.url)
        heard = []
        while not heard or heard[-1]["state"] != "COMPLETE":
            one = listener.next()
            heard.append(Webhook(SECRET).verify(one.body, one.headers))
        assert [one["sequence"] for one in heard] == list(range(1, len(heard) + 1))
        assert heard[0]["state"] == "QUEUED"
        assert [one["previous_state"] for one in heard[1:]] == [one["state"] for one in heard[:-1]]
    # Clients of TES that know no other fields must be able to read it.
    assert "callback_url" not in client.get(task, "FULL")
    assert get(server, f"/tesk/v1/tasks/{task}")["callback_url"] == listener.url
    shown = get(server, f"/tesk/v1/tasks/{task}/deliveries")
    assert [one["state"] for one in shown["deliveries"]] == [one["state"] for one in heard]
    able = get(server, "/tesk/v1/service-info")
    assert (able["callbacks"], able["callback_signatures"]) == (True, ["v1", "v1a"])
    assert verify(able["callback_public_keys"], one.headers, one.body, now=time.time()) == one.headers["webhook-id"]
    with urllib.request.urlopen(server.url + "/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    assert 'tesk_callbacks_total{status="delivered"}' in metrics
    assert "tesk_callbacks_pending 0" in metrics


def test_a_person_sees_what_a_listener_was_told_and_tells_it_again(server, client):
    def tesk(*words):
        done = subprocess.run(
            [PROGRAM, "deliveries", "--server", server.url, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    with listening() as listener:
        task = client.submit("true", callback_url=listener.url)
        states = listener.states(task, "COMPLETE")
        assert tesk(task, "--redeliver", "--sequence", "1") == (0, "", f"task {task}: 1 sent again\n")
        again = listener.next()
        assert (again.json()["sequence"], again.headers["webhook-id"]) == (1, f"{task}.1")
        code, table, _ = tesk(task)
        rows = [line.split() for line in table.splitlines()[1:]]
        assert code == 0
        assert [row[1] for row in rows] == states
    plain = client.submit("true")
    code, _, said = tesk(plain)
    assert code == 1
    assert "callback" in said


def test_a_command_that_nobody_waits_for_is_told_of(server):
    with listening() as listener:
        words = [
            "run",
            "--server",
            server.url,
            "--detach",
            "--ram",
            "0.05",
            "--callback-url",
            listener.url,
            "--",
            "true",
        ]
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=60, check=True)
        assert listener.states(done.stdout.strip(), "COMPLETE")[0] == "QUEUED"


def test_a_client_that_can_send_no_unknown_field_says_it_in_a_header(server, client):
    with listening() as listener:
        body = {"executors": [{"image": "none", "command": ["true"]}], "resources": {"ram_gb": 0.05}}
        headers = {"Content-Type": "application/json", "TESK-Callback-URL": listener.url}
        tasks = []
        for _ in range(3):
            request = urllib.request.Request(server.url + "/v1/tasks", json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                tasks.append(json.loads(answer.read())["id"])
        ended = set()
        while ended != set(tasks):
            one = listener.next().json()
            if one["state"] == "COMPLETE":
                ended.add(one["id"])


@pytest.mark.parametrize(
    "url", ["ftp://a.example/", "http://169.254.169.254/latest", "http://10.0.0.1/", "http://127.0.0.1:22/"]
)
def test_a_callback_that_must_not_be_called_is_refused_with_the_reason(server, url):
    body = json.dumps({"executors": [{"image": "none", "command": ["true"]}], "callback_url": url}).encode()
    request = urllib.request.Request(server.url + "/v1/tasks", body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 400
    assert json.loads(refused.value.read())["problems"][0]["path"] == "callback_url"


def test_what_a_listener_missed_while_it_was_away_and_the_server_was_killed_comes_later_in_order(tmp_path):
    with running(tmp_path, CALLBACKS_RETRY_SECONDS="0.1", CALLBACKS_RETRY_MOST_SECONDS="1") as server:
        client = Client(server.url)
        down = True
        busy = b"HTTP/1.1 500 Away\r\nContent-Length: 0\r\n\r\n"
        with listening(lambda _: busy if down else b"HTTP/1.1 204 No Content\r\n\r\n") as listener:
            task = client.submit("true", callback_url=listener.url)
            client.until(task, "COMPLETE")
            listener.next()
            server.kill()
            server.start()
            server.wait_until_ready()
            down = False
            states = listener.states(task, "COMPLETE")
            assert states[-2:] == ["RUNNING", "COMPLETE"]
        client.close()
