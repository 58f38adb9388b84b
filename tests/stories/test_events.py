"""Who follows what tasks do: `curl -N` shows a task's life, and a server that is killed costs nobody an event."""

import subprocess
from contextlib import closing

import pytest

from fakes.following import following
from fakes.process import running
from fakes.stubborn import Client


@pytest.fixture
def client(server):
    with closing(Client(server.url)) as client:
        yield client


@pytest.fixture
def server(tmp_path):
    with running(tmp_path) as server:
        yield server


def test_curl_shows_the_life_of_a_task(server, client):
    task = client.submit("true")
    client.until(task, "COMPLETE")
    said = subprocess.run(
        ["curl", "-sN", "-H", "Accept: text/event-stream", f"{server.url}/tesk/v1/tasks/{task}/events"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    for state in ("QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"):
        assert f'data: {{"id":"{task}","state":"{state}"' in said
    assert said.endswith("event: end\ndata: {}\n\n")


def test_a_server_that_is_killed_costs_who_follows_no_event(server, client):
    heard, last = [], "0"
    tasks = [client.submit("sleep", "0.3") for _ in range(12)]
    for kill in (True, True, False):
        with following(server.url, last_id=last) as stream:
            while len({task for task, state in heard if state == "COMPLETE"}) < len(tasks):
                kind, data = stream.next()
                if kind is None:
                    break
                heard.append((data["id"], data["state"]))
                last = stream.last_id
                if kill and len(heard) % 15 == 14:
                    break
        if kill:
            server.kill()
            server.start()
            server.wait_until_ready()
    for task in tasks:
        shown = client.ask("GET", f"/tesk/v1/tasks/{task}/events")["events"]
        assert [state for of, state in heard if of == task] == [event["state"] for event in shown]
