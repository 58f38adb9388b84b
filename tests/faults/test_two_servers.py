"""Two servers on one PostgreSQL, one of them silent for longer than its lease, and the database itself gone and back."""

import signal
from contextlib import ExitStack, closing

import pytest

from fakes.process import Server
from fakes.stubborn import Client
from faults.leftovers import assert_nothing_is_left

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


def test_a_server_that_is_stopped_loses_what_waits_but_not_what_runs_and_goes_on_with_it(start, postgres_url):
    first, asks_first = start("first")
    running = asks_first.submit("sleep", "8")
    asks_first.until(running, "RUNNING")
    second, asks_second = start("second", LOCAL_HOST_LOST_SECONDS="600")
    first.signal(signal.SIGSTOP)
    waiting = [asks_second.submit("true") for _ in range(8)]
    for task_id in waiting:
        assert asks_second.until(task_id) == "COMPLETE"
    # Longer than the lease: the second has seen that the first one's attempt is nobody's, and left it alone.
    slow = asks_second.submit("sleep", "3")
    assert asks_second.until(slow) == "COMPLETE"
    assert asks_second.get(running)["state"] == "RUNNING"
    first.signal(signal.SIGCONT)
    assert asks_second.until(running) == "COMPLETE"
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
    postgres_server.stop()
    postgres_server.start()
    tasks += [client.submit("true") for _ in range(4)]
    for task_id in tasks:
        assert client.until(task_id) == "COMPLETE"
        assert len(client.get(task_id, "FULL")["logs"]) == 1
    server.end()
    assert_nothing_is_left(server.folder, postgres_url, set(tasks))


def test_a_database_that_is_away_for_longer_than_the_lease_stops_no_task_either(start, postgres_server, postgres_url):
    server, client = start("only")
    task_id = client.submit("sleep", "4")
    client.until(task_id, "RUNNING")
    postgres_server.stop()
    server.wait_until_logged("Lost the lease")
    postgres_server.start()
    assert client.until(task_id) == "COMPLETE"
    assert len(client.get(task_id, "FULL")["logs"]) == 1
    server.end()
    assert_nothing_is_left(server.folder, postgres_url, {task_id})
