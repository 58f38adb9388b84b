"""While data moves, everybody who asks sees how far it is; once it has moved, the task says what that was."""

import json
import threading
import urllib.request

import pytest

from fakes.process import running
from fakes.served import until
from fakes.typed import Typed
from fakes.web import Files, serve

SIZE = 3_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("progress")) as server:
        yield server


class Waits(Files):
    """Sends two thirds, and the rest when it is told to."""

    go_on = threading.Event()

    def answer(self, *, head: bool = False) -> None:
        data = self.server.files[self.path]
        self.headed(200, data)
        if not head:
            self.wfile.write(data[: 2 * SIZE // 3])
            self.wfile.flush()
            self.go_on.wait(60)
            self.wfile.write(data[2 * SIZE // 3 :])


def test_how_far_the_inputs_are_is_shown_while_they_come_and_summed_up_at_the_end(server, client, tmp_path):
    with serve(Waits, {"/f": bytes(SIZE)}) as web:
        task_id = client.submit(
            executors=[{"image": "any", "command": ["true"]}],
            inputs=[{"path": "/in/f", "url": f"{web.url}/f"}, {"path": "/in/c", "content": "c"}],
            outputs=[{"path": "/in/f", "url": f"file://{server.files}/f"}],
        )

        def transfer():
            with urllib.request.urlopen(f"{server.url}/tesk/v1/tasks/{task_id}") as answer:
                return json.load(answer)["transfer"]

        try:
            until(lambda: (transfer() or {}).get("files_done") == 1)
            said = transfer()
            assert (said["direction"], said["files"], said["size_bytes"]) == ("inputs", 2, None)
            assert 0 < said["size_bytes_done"] <= 2 * SIZE // 3 + 1
            tesk = Typed(tmp_path, server.url)
            for form in ("table", "wide"):
                head, row = tesk("get", task_id, "-o", form).stdout.splitlines()
                assert head.split()[-1] == "MOVING"
                assert "inputs: 1 of 2 files, 2 MB, " in row
        finally:
            Waits.go_on.set()
    assert client.until(task_id) == "COMPLETE"
    assert transfer() is None
    lines = client.get(task_id, "FULL")["logs"][0]["system_logs"]
    assert any(line.startswith("inputs: 1 file, 3 MB in ") for line in lines)
    assert any(line.startswith("outputs: 1 file, 3 MB in ") for line in lines)


def test_a_task_that_brings_nothing_says_nothing_of_it(client):
    task_id = client.submit(
        executors=[{"image": "any", "command": ["true"]}], inputs=[{"path": "/in/c", "content": "c"}]
    )
    assert client.until(task_id) == "COMPLETE"
    assert not any("inputs" in line for line in client.get(task_id, "FULL")["logs"][0]["system_logs"])


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    settings = {"STORAGE_TRIES": "5", "LIMITS_ATTEMPTS": "2", "CONTROLLER_RETRY_SECONDS": "6"}
    with running(tmp_path_factory.mktemp("patient"), **settings) as server:
        yield server


def test_who_waits_hears_of_a_host_that_is_down_while_it_is_tried_again(patient, tmp_path):
    with serve() as gone:
        url = f"{gone.url}/f?sig=secret"  # nobody listens there any more
    done = Typed(tmp_path, patient.url)("run", "--input", f"{url}:/in/f", "--", "true")
    assert done.returncode == 125
    words = f"{gone.url}/f?...: Connection refused; t"
    lines = done.stderr.splitlines()
    assert any(line.startswith(f"inputs: {words}ry ") and line.endswith(" of 5 follows") for line in lines)
    assert any(
        line.startswith(f"attempt 1: inputs[0].url: {words}ried 5 times in ") and "(tried again in " in line
        for line in lines
    ), done.stderr
    # Why it ended in the end stands first.
    (at,) = [number for number, line in enumerate(lines) if line.endswith("ended SYSTEM_ERROR")]
    assert lines[at + 1].startswith(f"  inputs[0].url: {words}ried 5 times")
    assert "no further attempt after 2 failed" in lines[at + 1]
    assert "secret" not in done.stderr
