"""Promises over HTTP about the ends of tasks that do not come by themselves: canceled in each phase, limited, refused."""

import socket
import threading
import time

import pytest

from fakes.process import running
from faults.leftovers import assert_nothing_is_left


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("stories"), LOCAL_CPU_CORES="2", LOCAL_GRACE_SECONDS="0.5") as server:
        yield server
    assert_nothing_is_left(server.folder, str(server.folder / "data/tesk.db"), set())


@pytest.fixture
def endless():
    """Give the URL of a file of which a little comes and then nothing more."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer():
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun")
            connection.settimeout(30)
            while connection.recv(65536):
                pass

    thread = threading.Thread(target=answer)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/endless"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(30)


def test_a_task_that_waits_is_canceled_at_once(client):
    holding = client.submit("sleep", "600", resources={"cpu_cores": 2})
    client.until(holding, "INITIALIZING", "RUNNING")
    waiting = client.submit("true", resources={"cpu_cores": 2})
    client.cancel(waiting)
    assert client.get(waiting)["state"] == "CANCELED"
    client.cancel(holding)
    assert client.until(holding) == "CANCELED"


def test_a_task_whose_inputs_are_on_their_way_is_canceled(client, endless):
    task_id = client.submit("true", inputs=[{"url": endless, "path": "/in/file"}])
    client.until(task_id, "INITIALIZING")
    client.cancel(task_id)
    assert client.until(task_id) == "CANCELED"
    assert client.get(task_id, "FULL")["logs"][0]["logs"] == []


def test_a_task_that_runs_is_canceled_and_keeps_what_it_had_said(client):
    task_id = client.submit("sh", "-c", "echo begun; sleep 600")
    client.until(task_id, "RUNNING")
    client.cancel(task_id)
    assert client.until(task_id) == "CANCELED"
    (log,) = client.get(task_id, "FULL")["logs"]
    assert log["logs"][0]["stdout"] == "begun\n"


def test_a_task_that_ignores_term_is_killed_after_the_grace_and_uploads_nothing(client, server):
    task_id = client.submit(
        "sh",
        "-c",
        "trap '' TERM; echo half >/out/half; (while :; do sleep 1; done) & while :; do sleep 1; done",
        outputs=[{"path": "/out/half", "url": f"file://{server.files}/half"}],
    )
    client.until(task_id, "RUNNING")
    begun = time.monotonic()
    client.cancel(task_id)
    assert client.until(task_id) == "CANCELED"
    assert time.monotonic() - begun < 10
    assert not (server.files / "half").exists()


def test_a_task_that_has_ended_is_not_changed_by_a_cancel(client):
    task_id = client.submit("true")
    assert client.until(task_id) == "COMPLETE"
    client.cancel(task_id)
    assert client.get(task_id)["state"] == "COMPLETE"


def test_a_task_over_its_time_limit_ends_as_a_system_error_that_says_so(client):
    task_id = client.submit("sleep", "600", resources={"backend_parameters": {"time_limit_seconds": "0.5"}})
    assert client.until(task_id) == "SYSTEM_ERROR"
    (log,) = client.get(task_id, "FULL")["logs"]
    assert "Stopped: it ran longer than its time limit of 0.5 s" in log["system_logs"]


def test_a_task_larger_than_the_machine_is_refused_at_once_with_the_numbers(client):
    task_id = client.submit("true", resources={"cpu_cores": 64})
    assert client.until(task_id) == "SYSTEM_ERROR"
    (log,) = client.get(task_id, "FULL")["logs"]
    assert log["system_logs"] == ["Can never run here: it asks for cpu_cores 64 and this server has cpu_cores 2 in all"]


def test_a_large_task_is_not_starved_by_small_ones(client):
    small = [client.submit("sleep", "0.3") for _ in range(6)]
    large = client.submit("true", resources={"cpu_cores": 2})
    later = [client.submit("sleep", "0.3") for _ in range(6)]
    for task_id in [*small, large, *later]:
        assert client.until(task_id) == "COMPLETE"
    started = {task_id: client.get(task_id, "FULL")["logs"][0]["start_time"] for task_id in [large, *later]}
    assert all(started[large] <= started[task_id] for task_id in later)


def test_what_the_run_shows_of_a_type_is_shown_in_the_task(client, server):
    task_id = client.submit(
        "sh",
        "-c",
        "mkdir /out/many; echo 1 >/out/many/one",
        outputs=[{"path": "/out/many", "url": f"file://{server.files}/many"}],
    )
    assert client.until(task_id) == "COMPLETE"
    assert client.get(task_id, "FULL")["outputs"][0]["type"] == "DIRECTORY"
    assert (server.files / "many/one").read_text() == "1\n"
