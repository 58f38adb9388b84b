"""What the end of a server does to tasks: TERM, a second TERM, Ctrl-C; and what the next start makes of it."""

import signal
from contextlib import closing

import pytest

from fakes.process import Server
from fakes.stubborn import Client


@pytest.fixture
def make(tmp_path):
    """Start a server with settings, and give a client of it, too."""
    made = []

    def make(**settings):
        server = Server(tmp_path, LOCAL_CPU_CORES="1", **settings)
        client = Client(server.url)
        made.append((server, client))
        server.start()
        server.wait_until_ready()
        return server, client

    yield make
    for server, client in made:
        client.close()
        server.end()


def test_at_term_what_runs_may_finish_and_what_waits_is_started_by_the_next_server(make):
    server, client = make(SHUTDOWN_GRACE="30")
    running, waiting = client.submit("sleep", "2"), client.submit("true")
    client.until(running, "RUNNING")
    server.signal(signal.SIGTERM)
    late = client.submit("true")
    assert client.until(running) == "COMPLETE"
    assert client.get(waiting)["state"] == "QUEUED"
    assert server.process.wait(30) == 0
    client.close()
    server.start()
    assert client.until(waiting) == "COMPLETE"
    assert client.until(late) == "COMPLETE"
    assert len(client.get(running, "FULL")["logs"]) == 1


def test_what_does_not_finish_in_the_grace_is_stopped_and_runs_again_from_the_start(make):
    server, client = make(SHUTDOWN_GRACE="0.2")
    task_id = client.submit("sh", "-c", "trap 'echo asked; exit 0' TERM; sleep 3 & wait; echo through")
    client.until(task_id, "RUNNING")
    server.signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    client.close()
    server.start()
    assert client.until(task_id) == "COMPLETE"
    first, second = client.get(task_id, "FULL")["logs"]
    assert first["end_time"] <= second["start_time"]
    assert second["logs"][0]["stdout"] == "through\n"


@pytest.mark.parametrize("signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]])
def test_a_second_term_or_ctrl_c_ends_the_server_at_once(make, signals):
    server, client = make(SHUTDOWN_GRACE="600", LOCAL_GRACE_SECONDS="600")
    task_id = client.submit("sh", "-c", "trap '' TERM; sleep 3; echo through")
    client.until(task_id, "RUNNING")
    for number in signals:
        server.signal(number)
        if number is signal.SIGTERM:
            server.wait_until_logged("Told to end")
    assert server.process.wait(15) == 0
    client.close()
    server.start()
    assert client.until(task_id) == "COMPLETE"
    assert len(client.get(task_id, "FULL")["logs"]) == 2


def test_a_second_server_on_the_same_data_says_so_and_does_not_start(make, tmp_path):
    _, client = make()
    other = Server(tmp_path)
    other.log = tmp_path / "other.log"
    other.start()
    assert other.process.wait(30) == 1
    assert "Another server uses" in other.log.read_text()
    assert client.until(client.submit("true")) == "COMPLETE"


def test_a_server_that_is_open_to_others_wants_authentication(tmp_path):
    server = Server(tmp_path, SERVER_HOST="0.0.0.0")
    server.start()
    assert server.process.wait(30) == 1
    assert "Without authentication only a loopback address is served" in server.log.read_text()


def test_a_port_that_is_taken_is_named(make, tmp_path):
    server, _ = make()
    folder = tmp_path / "other"
    folder.mkdir()
    other = Server(folder)
    other._port = int(server.url.rpartition(":")[2])
    other.start()
    assert other.process.wait(30) == 1
    assert f"port {other._port}" in other.log.read_text()


def test_the_address_is_said_on_standard_output_once_connections_are_accepted(make):
    server, client = make()
    assert f"TESK listens on {server.url}/ga4gh/tes/v1\n" in server.log.read_text()
    with closing(client):
        assert (server.folder / "data").stat().st_mode & 0o777 == 0o700
