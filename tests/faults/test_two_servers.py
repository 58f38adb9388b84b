"""Two servers on one PostgreSQL, one of them silent for longer than its lease, and the database itself gone and back."""

import asyncio
import os
import signal
import tempfile
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import asyncpg
import pytest

from fakes.environment import HOUSE
from fakes.process import Server
from fakes.stubborn import Client
from faults.leftovers import assert_nothing_is_left, processes

QUICK = {"CONTROLLER_LEASE_SECONDS": "1.5", "CONTROLLER_SWEEP_SECONDS": "0.3", "LOCAL_CPU_CORES": "2"}


@pytest.fixture
def start(tmp_path, postgres_url):
    """Start servers that share a database, each with a folder of its own; end them all afterwards."""
    with ExitStack() as ends:

        def start(name, **settings):
            folder = tmp_path / name
            folder.mkdir()
            server = Server(folder, DATABASE=postgres_url, **(QUICK | settings))
            ends.callback(server.end)
            # SIGCONT first: a stopped process would not hear of its end.
            ends.callback(lambda: server.process.poll() is None and server.signal(signal.SIGCONT))
            server.start()
            server.wait_until_ready()
            client = ends.enter_context(closing(Client(server.url)))
            return server, client

        yield start


@pytest.fixture
def shared():
    """Give a folder that the tasks of both servers see."""
    # Not below /tmp: there a task sees its own. Nor below this checkout where root has it to itself.
    place = Path("/srv") if os.geteuid() == 0 else HOUSE / "build"
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix="tesk-shared-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def sees(shared):
    """Settings for a server whose tasks see this folder."""
    return {"LOCAL_VISIBLE": f"/usr:/bin:/lib:/lib64:{shared}"}


def waits_in(shared):
    """A script that ends once there is `go` in this folder."""
    return f"until [ -e {shared}/go ]; do sleep 0.05; done"


def until_attempt(client, task_id, number):
    """Wait until a task has so many attempts; between two it may be in QUEUED for too short to be seen."""
    end, pause = time.monotonic() + 60, threading.Event()
    while len(client.get(task_id, "BASIC")["logs"]) < number:
        assert time.monotonic() < end, client.get(task_id, "FULL")
        pause.wait(0.05)


@contextmanager
def on_another_machine(database):
    """Have all attempts up to now belong to another machine, until the block ends."""

    def change(statement):
        async def run():
            connection = await asyncpg.connect(database)
            await connection.execute(statement)
            await connection.close()

        asyncio.run(run())

    change("UPDATE attempt SET place = 'another' || place")
    yield
    change("UPDATE attempt SET place = substr(place, 8) WHERE place LIKE 'another%'")


@pytest.mark.parametrize("killed", [False, True])
def test_what_a_silent_server_of_this_machine_ran_is_ended_and_done_by_the_other_one(
    start, shared, postgres_url, killed
):
    first, asks_first = start("first", LOCAL_HOST_LOST_SECONDS="600", **sees(shared))
    second, asks_second = start("second", LOCAL_HOST_LOST_SECONDS="600", **sees(shared))
    (shared / "alone").touch()
    # Whatever lives of the first attempt holds the lock; a second one beside it would end with 99.
    script = f"exec 9<{shared}/alone; flock -n 9 || exit 99; {waits_in(shared)}"
    # Submitted while the second one cannot take it.
    second.signal(signal.SIGSTOP)
    running = asks_first.submit("sh", "-c", script)
    also = asks_first.submit("sleep", "600")
    asks_first.until(running, "RUNNING")
    asks_first.until(also, "RUNNING")
    if killed:
        first.kill()
    else:
        first.signal(signal.SIGSTOP)
    second.signal(signal.SIGCONT)
    asks_second.cancel(also)
    until_attempt(asks_second, running, 2)
    assert asks_second.until(running, "RUNNING") == "RUNNING"
    assert [line for line in processes(f"{first.folder}/data/local") if "tesk serve" not in line] == []
    (shared / "go").touch()
    assert asks_second.until(running) == "COMPLETE"
    assert asks_second.until(also) == "CANCELED"
    if killed:
        first.start()
        first.wait_until_ready()
    first.signal(signal.SIGCONT)
    # It finds out, takes a new lease, and works.
    second.signal(signal.SIGSTOP)
    assert asks_first.until(asks_first.submit("true")) == "COMPLETE"
    second.signal(signal.SIGCONT)
    assert asks_second.get(also)["state"] == "CANCELED"
    task = asks_second.get(running, "FULL")
    assert task["state"] == "COMPLETE"
    lost, done = task["logs"]
    assert "went away" in lost["system_logs"][-1]
    assert done["logs"][0]["exit_code"] == 0
    for server in (first, second):
        server.end()
        assert_nothing_is_left(server.folder, postgres_url, {running, also})


def test_a_server_that_is_only_late_keeps_what_it_runs(start, shared, postgres_server, postgres_url):
    first, asks_first = start("first", **sees(shared))
    running = asks_first.submit("sh", "-c", waits_in(shared))
    asks_first.until(running, "RUNNING")
    second, asks_second = start("second")
    with postgres_server.away():
        for server in (first, second):
            server.wait_until_logged("Lost the lease")
    # A task that begins shows that a server is back, which would have ended what it takes for lost.
    for asks in (asks_first, asks_second):
        assert asks.until(asks.submit("true")) == "COMPLETE"
    (shared / "go").touch()
    assert asks_second.until(running) == "COMPLETE"
    assert len(asks_second.get(running, "FULL")["logs"]) == 1
    for server in (first, second):
        server.end()
        assert_nothing_is_left(server.folder, postgres_url, {running})


def test_a_server_of_another_machine_loses_what_waits_but_not_what_runs_and_goes_on_with_it(
    start, shared, postgres_url
):
    first, asks_first = start("first", **sees(shared))
    running = asks_first.submit("sh", "-c", waits_in(shared))
    asks_first.until(running, "RUNNING")
    second, asks_second = start("second", LOCAL_HOST_LOST_SECONDS="600")
    first.signal(signal.SIGSTOP)
    with on_another_machine(postgres_url):
        waiting = [asks_second.submit("true") for _ in range(8)]
        for task_id in waiting:
            assert asks_second.until(task_id) == "COMPLETE"
        # Longer than the lease: the second has seen that the first one's attempt is nobody's, and left it alone.
        slow = asks_second.submit("sleep", "2")
        assert asks_second.until(slow) == "COMPLETE"
        assert asks_second.get(running)["state"] == "RUNNING"
        # Once they are of one machine again, it would do what a silent server left.
        second.signal(signal.SIGSTOP)
    first.signal(signal.SIGCONT)
    (shared / "go").touch()
    assert asks_first.until(running) == "COMPLETE"
    second.signal(signal.SIGCONT)
    assert len(asks_second.get(running, "FULL")["logs"]) == 1
    for server in (first, second):
        server.end()
        assert_nothing_is_left(server.folder, postgres_url, {running, slow, *waiting})


def test_what_a_server_says_after_its_host_was_given_up_is_not_believed(start, postgres_url):
    first, asks_first = start("first")
    lost = asks_first.submit("sleep", "600")
    also = asks_first.submit("sleep", "600")
    asks_first.until(lost, "RUNNING")
    asks_first.until(also, "RUNNING")
    second, asks_second = start("second", LOCAL_HOST_LOST_SECONDS="1")
    first.signal(signal.SIGSTOP)
    with on_another_machine(postgres_url):
        asks_second.cancel(also)
        assert asks_second.until(lost) == "SYSTEM_ERROR"
        assert asks_second.until(also) == "CANCELED"
    log = asks_second.get(lost, "FULL")["logs"][-1]
    assert "did not come back" in log["system_logs"][-1]
    first.signal(signal.SIGCONT)
    # It finds out, takes a new lease, ends what nobody wants any more, and works.
    assert asks_first.until(asks_first.submit("true")) == "COMPLETE"
    assert asks_second.get(lost)["state"] == "SYSTEM_ERROR"
    for server in (first, second):
        server.end()
        assert_nothing_is_left(server.folder, postgres_url, {lost, also})


def test_a_database_that_goes_away_and_comes_back_stops_no_task(start, postgres_server, postgres_url):
    server, client = start("only", CONTROLLER_LEASE_SECONDS="30")
    tasks = [client.submit("sleep", "2") for _ in range(4)]
    client.until(tasks[0], "RUNNING")
    with postgres_server.away():
        pass
    tasks += [client.submit("true") for _ in range(4)]
    for task_id in tasks:
        assert client.until(task_id) == "COMPLETE"
        assert len(client.get(task_id, "FULL")["logs"]) == 1
    server.end()
    assert_nothing_is_left(server.folder, postgres_url, set(tasks))


def test_a_database_that_is_away_for_longer_than_the_lease_stops_no_task_either(
    start, shared, postgres_server, postgres_url
):
    server, client = start("only", **sees(shared))
    task_id = client.submit("sh", "-c", waits_in(shared))
    client.until(task_id, "RUNNING")
    with postgres_server.away():
        server.wait_until_logged("Lost the lease")
    assert client.until(client.submit("true")) == "COMPLETE"
    (shared / "go").touch()
    assert client.until(task_id) == "COMPLETE"
    assert len(client.get(task_id, "FULL")["logs"]) == 1
    server.end()
    assert_nothing_is_left(server.folder, postgres_url, {task_id})
