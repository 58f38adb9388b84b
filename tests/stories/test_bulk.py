"""A batch that a `kill -9` cuts off, sent again by its key: each task is there once, under the id of its place."""

import http.client
import json
import random
import sqlite3
import threading
from contextlib import closing, suppress

from fakes.process import running
from fakes.served import until

SEED = 20261125
TASKS = 4000
BODY = "\n".join(
    json.dumps({"name": f"{n:05}", "tags": {"run": "1"}, "executors": [{"image": "debian", "command": ["true"]}]})
    for n in range(TASKS)
).encode()


def send(server, key):
    """Send the batch; return what is answered."""
    host = server.url.removeprefix("http://")
    with closing(http.client.HTTPConnection(host, timeout=60)) as connection:
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}
        connection.request("POST", "/tesk/v1/tasks:batch", BODY, headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return json.loads(answer.read())["tasks"]


def stored(server, what="count(*)"):
    with closing(sqlite3.connect(server.folder / "data/tesk.db")) as connection:
        return connection.execute(f"SELECT {what} FROM task ORDER BY id").fetchall()


def cut_off(server, key, some):
    """Send the batch, and kill the server once so many of it are stored."""
    before = stored(server)[0][0]

    def try_once():
        with suppress(OSError, http.client.HTTPException):
            send(server, key)

    sender = threading.Thread(target=try_once)
    sender.start()
    until(lambda: stored(server)[0][0] >= before + some or not sender.is_alive())
    server.kill()
    sender.join()


def test_a_batch_that_a_kill_cuts_off_is_whole_when_it_is_sent_again(tmp_path):
    dice, halves = random.Random(SEED), 0
    with running(tmp_path, CONTROLLER_ENABLED="false", LOG_LEVEL="warning") as server:
        for before in range(0, 3 * TASKS, TASKS):
            cut_off(server, f"after {before}", dice.randrange(TASKS * 3 // 4))
            halves += before < stored(server)[0][0] < before + TASKS
            server.start()
            server.wait_until_ready()
            places = send(server, f"after {before}")
            assert send(server, f"after {before}") == places
            rows = stored(server, "id, name")[before:]
            assert [place["id"] for place in places] == [row[0] for row in rows]
            assert [row[1] for row in rows] == [f"{n:05}" for n in range(TASKS)]
    assert halves, "no kill came in the middle of a batch"
