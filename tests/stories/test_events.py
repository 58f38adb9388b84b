"""Who follows what tasks do: `curl -N` shows a task's life, and a server that is killed costs nobody an event."""

import http.client
import os
import re
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import pytest

from fakes.following import following
from fakes.process import running
from fakes.stubborn import Client

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/events.md"


@pytest.fixture
def client(server):
    with closing(Client(server.url)) as client:
        yield client


@pytest.fixture
def server(tmp_path):
    with running(tmp_path) as server:
        yield server


def test_curl_shows_the_life_of_a_task_as_the_page_does(server, client):
    asked, answered = re.findall(r"```(?:sh|text)\n(.*?)```", PAGE.read_text(), re.DOTALL)[:2]
    task = client.submit("true")
    client.until(task, "COMPLETE")
    said = subprocess.run(
        ["sh", "-c", asked.replace("http://127.0.0.1:8000", server.url)],
        env={"PATH": os.environ["PATH"], "ID": task},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    assert task in said
    assert plain(said) == plain(answered)


def plain(stream):
    """Return a stream without what differs each time."""
    return re.sub(r'[0-9a-z]{26}|"time":"[^"]*"|(?<=-)[0-9a-f]{8}(?=\n)', "...", stream)


def test_a_server_that_is_killed_costs_who_follows_no_event(server, client):
    heard, last = [], "0"
    tasks = [client.submit("sleep", "0.3") for _ in range(12)]

    def listen(*, kill_after):
        """Follow to the end of all tasks, or of the server, which is killed after some events."""
        nonlocal last
        with following(server.url, last_id=last) as stream, suppress(http.client.HTTPException, OSError):
            while len({task for task, state in heard if state == "COMPLETE"}) < len(tasks):
                kind, data = stream.next()
                if kind is None:
                    return
                heard.append((data["id"], data["state"]))
                last = stream.last_id
                kill_after -= 1
                if kill_after == 0:
                    server.kill()

    for kill_after in (14, 15, 0):
        listen(kill_after=kill_after)
        if kill_after:
            server.start()
            server.wait_until_ready()
    for task in tasks:
        shown = client.ask("GET", f"/tesk/v1/tasks/{task}/events")["events"]
        assert [state for of, state in heard if of == task] == [event["state"] for event in shown]
