"""`kill -9` of the server at random moments while containers run: each task ends right, and no executor runs twice."""

import random
import time
from contextlib import closing

import pytest

from fakes.process import Server
from fakes.stubborn import Client

SEED = 20261124
KILLS = 8
TASKS = 10
PS = ("ps", "--all", "--format", "{{.Names}} {{.Status}}")


@pytest.mark.faults
def test_no_executor_runs_twice_however_often_the_server_is_killed(tmp_path, engine):
    dice = random.Random(SEED)
    server = Server(
        tmp_path,
        BACKEND="containers",
        CONTAINERS_NETWORK="off",
        CONTAINERS_PULL="never",
        CONTAINERS_CPU_CORES="4",
        CONTROLLER_LEASE_SECONDS="5",
    )
    server.start()
    server.wait_until_ready()
    try:
        with closing(Client(server.url)) as client:
            once = "echo x >>/data/$1; sleep 0.$2; cat /data/$1"
            tasks = []
            for _ in range(TASKS):
                executors = [
                    {"image": "debian", "command": ["sh", "-c", once, "sh", str(n), str(dice.randrange(10))]}
                    for n in (1, 2)
                ]
                tasks.append(client.submit(executors=executors, volumes=["/data"]))
            for _ in range(KILLS):
                time.sleep(dice.uniform(0.1, 1.5))  # the moment is what is tried
                server.kill()
                server.start()
                server.wait_until_ready()
            for task_id in tasks:
                assert client.until(task_id) == "COMPLETE", client.get(task_id, "FULL")
                logs = client.get(task_id, "FULL")["logs"]
                assert [log["stdout"] for log in logs[-1]["logs"]] == ["x\n", "x\n"]
                assert len(logs) == 1, logs
        end = time.monotonic() + 30
        while left := _left(engine, tmp_path, tasks):
            assert time.monotonic() < end, (left, server.log.read_text())
            time.sleep(0.2)  # what is forgotten tells nobody
    finally:
        server.end()


def _left(engine, folder, tasks):
    """What is there of these tasks: folders, containers."""
    folders = [each.name for each in (folder / "data/containers/attempts").iterdir()]
    return folders + [line for line in engine.run(*PS).splitlines() if any(task_id in line for task_id in tasks)]
