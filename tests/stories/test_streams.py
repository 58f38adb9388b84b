"""Inputs that are streamable: the program begins at once, and never takes a part for the whole."""

import hashlib
import os
import signal
import threading
from pathlib import Path

import pytest

from fakes.process import running
from fakes.served import until
from fakes.web import BreaksInTheMiddle, Files, serve

DATA = bytes(range(256)) * 12_000


@pytest.fixture(scope="module", params=["local", "containers"])
def server(tmp_path_factory, request):
    more = {}
    if request.param == "containers":
        request.getfixturevalue("engine")
        more = {"CONTAINERS_NETWORK": "off", "CONTAINERS_PULL": "never"}
    folder = tmp_path_factory.mktemp("streams")
    with running(folder, BACKEND=request.param, LIMITS_ATTEMPTS="1", STORAGE_TRIES="2", **more) as server:
        yield server


class Waits(Files):
    """Sends a third; the rest when it is told to, or never."""

    asked = threading.Event()
    go_on = threading.Event()

    def answer(self, *, head: bool = False) -> None:
        data = self.server.files[self.path]
        self.headed(200, data)
        self.wfile.write(data[: len(data) // 3])
        self.wfile.flush()
        self.asked.set()
        self.go_on.wait(60)
        self.wfile.write(data[len(data) // 3 :])


class BreaksForGood(Files):
    """Sends a third, and later nothing of it."""

    def answer(self, *, head: bool = False) -> None:
        if len(self.server.requests) > 1:
            self.plain(404)
            return
        data = self.server.files[self.path]
        self.headed(200, data)
        self.wfile.write(data[: len(data) // 3])
        self.close_connection = True


@pytest.fixture(autouse=True)
def fresh():
    for event in (Waits.asked, Waits.go_on):
        event.clear()
    yield
    Waits.go_on.set()


def sh(script, **more):
    return {"image": "debian", "command": ["sh", "-c", script], **more}


def submit(client, web, *executors, **more):
    inputs = [{"path": "/in/f", "url": f"{web.url}/f", "streamable": True}]
    return client.submit(executors=list(executors), **({"inputs": inputs} | more))


def logs(client, task_id):
    return client.get(task_id, "FULL")["logs"][-1]


def stdout(client, task_id):
    return [each["stdout"] for each in logs(client, task_id)["logs"]]


def stagers(server):
    """The stagers of this server, by their parent."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (
                f"PPid:\t{server.process.pid}\n" in (folder / "status").read_text()
                and b"tesk.stager" in (folder / "cmdline").read_bytes()
            ):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_program_begins_before_its_input_is_there_and_may_leave_early(client):
    with serve(Waits, {"/f": DATA}) as web:
        task_id = submit(client, web, sh("test -p /in/f && head -c 3 /in/f | od -An -tx1"))
        assert client.until(task_id) == "COMPLETE", logs(client, task_id)
        assert not Waits.go_on.is_set()
        Waits.go_on.set()
    assert stdout(client, task_id) == [" 00 01 02\n"]


def test_every_reader_gets_all_of_it_from_the_start_also_over_a_line_that_breaks(client):
    with serve(BreaksInTheMiddle, {"/f": DATA}) as web:
        whole = "sha256sum < /in/f"
        task_id = submit(client, web, sh(f"head -c 1 /in/f >/dev/null; {whole}; {whole}"), sh(whole))
        assert client.until(task_id) == "COMPLETE", logs(client, task_id)
    line = f"{hashlib.sha256(DATA).hexdigest()}  -\n"
    assert stdout(client, task_id) == [2 * line, line]
    assert any(said.endswith("as they were read") for said in logs(client, task_id)["system_logs"])


def test_a_source_that_fails_in_the_middle_ends_the_task_though_the_program_would_not_notice(client):
    with serve(BreaksForGood, {"/f": DATA}) as web:
        task_id = submit(client, web, sh("cat /in/f >/dev/null; exit 0"), sh("echo next"))
        assert client.until(task_id) == "SYSTEM_ERROR"
    log = logs(client, task_id)
    assert "/f: the server answers 404" in log["system_logs"][-1]
    assert [each["exit_code"] for each in log["logs"]] == [137]


def test_two_who_open_it_at_once_get_all_of_it_each_or_the_task_says_why_not(client):
    with serve(Files, {"/f": DATA}) as web:
        script = "exec 3</in/f 4</in/f; sha256sum <&3 >/tmp/3 & sha256sum <&4; wait; cat /tmp/3"
        tasks = [submit(client, web, sh(script)) for _ in range(8)]
        for task_id in tasks:
            state = client.until(task_id)
            log = logs(client, task_id)
            if state == "COMPLETE":
                assert log["logs"][0]["stdout"] == 2 * f"{hashlib.sha256(DATA).hexdigest()}  -\n"
            else:
                assert "was opened twice at the same moment" in log["system_logs"][-1], log


def test_a_stager_that_dies_ends_the_task_though_the_program_saw_an_end(client, server):
    with serve(Waits, {"/f": DATA}) as web:
        task_id = submit(client, web, sh("cat /in/f >/dev/null; exit 0"))
        assert Waits.asked.wait(30)
        (stager,) = stagers(server)
        os.kill(stager, signal.SIGKILL)
        assert client.until(task_id) == "SYSTEM_ERROR"
        Waits.go_on.set()
    assert any("the stager ended with -9" in line for line in logs(client, task_id)["system_logs"])


def test_a_cancel_leaves_no_stager_and_no_reader(client, server):
    with serve(Waits, {"/f": DATA}) as web:
        task_id = submit(client, web, sh("cat /in/f"))
        assert Waits.asked.wait(30)
        client.cancel(task_id)
        assert client.until(task_id) == "CANCELED"
        Waits.go_on.set()
    until(lambda: stagers(server) == [])


def test_a_task_whose_pipes_died_with_their_server_is_begun_anew(client, server):
    with serve(Waits, {"/f": DATA}) as web:
        # The program of the first attempt sees an end, and would do harm with the part.
        task_id = submit(client, web, sh("sha256sum </in/f"), sh("echo done"))
        assert Waits.asked.wait(30)
        server.kill()
        Waits.go_on.set()
        server.start()
        server.wait_until_ready()
        assert client.until(task_id) == "COMPLETE", logs(client, task_id)
    assert stdout(client, task_id) == [f"{hashlib.sha256(DATA).hexdigest()}  -\n", "done\n"]
    assert len(client.get(task_id, "FULL")["logs"]) == 2


def test_what_nobody_can_stream_is_a_file(client, server):
    (server.files / "f").write_bytes(DATA)
    with serve(Files, {"/f": DATA}) as web:
        task_id = submit(
            client,
            web,
            sh("test -f /in/local -a -f /in/stdin -a -f /out/kept -a -f /in/content && wc -c <&0", stdin="/in/stdin"),
            inputs=[
                {"path": "/in/local", "url": f"file://{server.files}/f", "streamable": True},
                {"path": "/in/stdin", "url": f"{web.url}/f", "streamable": True},
                {"path": "/out/kept", "url": f"{web.url}/f", "streamable": True},
                {"path": "/in/content", "content": "c", "streamable": True},
            ],
            outputs=[{"path": "/out", "url": f"file://{server.files}/out", "type": "DIRECTORY"}],
        )
        assert client.until(task_id) == "COMPLETE", logs(client, task_id)
    assert stdout(client, task_id) == [f"{len(DATA)}\n"]
    assert (server.files / "out/kept").read_bytes() == DATA
