"""A TERM ends both containers at once, and leaves nothing half."""

import signal
import subprocess
import threading
from pathlib import Path

import pytest

from fakes.pod import waits_for_a_lock
from fakes.served import until
from fakes.web import Files, serve
from tesk.transfer import Deliver, Fetch

TERMINATED = 128 + signal.SIGTERM


class _Silent(Files):
    """Begins an answer, and falls silent in the middle; takes a part of what is put."""

    began = threading.Event()
    over = threading.Event()

    def answer(self, *, head: bool = False) -> None:
        data = self.server.files[self.path]
        self.headed(200, data)
        if not head:
            self.wfile.write(data[: len(data) // 2])
            self.wait()

    def do_PUT(self) -> None:
        self.rfile.read(1000)
        self.wait()

    def wait(self) -> None:
        self.began.set()
        self.over.wait(30)


@pytest.fixture
def silent():
    _Silent.began.clear()
    _Silent.over.clear()
    with serve(_Silent) as web:
        yield web
        _Silent.over.set()


def test_inputs_ends_while_it_waits_for_executors(pods) -> None:
    pod = pods("true")
    inputs = pod.inputs()
    until((pod.control / "inputs/lock").exists)
    inputs.terminate()
    assert inputs.wait(10) == TERMINATED
    assert not (pod.control / "inputs/report.json").exists()


def test_outputs_waits_for_the_executor_that_is_told_as_well_and_stores_nothing(pods, tmp_path: Path) -> None:
    pod = pods(
        "trap 'echo heard; exit 9' TERM; echo part > {root}/part; touch {root}/begun; while :; do sleep 0.01; done",
        "touch {root}/ran",
        outputs=[Deliver(index=0, path="/part", url=str(tmp_path / "out/part"))],
        ignore_errors=[0],
    )
    inputs = pod.inputs()
    first, second, outputs = pod.shim(0), pod.shim(1), pod.outputs()
    until((pod.root / "begun").exists)
    inputs.wait(10)
    until(lambda: waits_for_a_lock(outputs.pid))
    outputs.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        outputs.wait(0.2)
    first.terminate()
    report = pod.report(outputs)
    assert report.error == "the pod was told to end"
    assert [(end.exit_code, end.stdout) for end in report.executors] == [(9, "heard\n")]
    assert (report.outputs, pod.summary()) == (None, report)
    assert (outputs.wait(10), second.wait(10)) == (TERMINATED, 0)
    assert not (tmp_path / "out/part").exists()
    assert not (pod.root / "ran").exists()


def test_outputs_ends_while_inputs_are_waited_for(pods) -> None:
    pod = pods("true")
    pod.inputs()
    outputs = pod.outputs()
    until((pod.control / "inputs/lock").exists)
    until(lambda: _blocks_term(outputs.pid))
    outputs.terminate()
    assert outputs.wait(10) == TERMINATED
    assert pod.termination.read_text() == ""


def test_inputs_ends_in_the_middle_of_a_file_and_takes_the_half_away(pods, silent) -> None:
    silent.files["/file"] = b"data" * 100_000
    pod = pods("true", inputs=[Fetch(index=0, path="/data/file", url=f"{silent.url}/file")])
    inputs = pod.inputs()
    assert _Silent.began.wait(30)
    inputs.terminate()
    assert inputs.wait(10) == TERMINATED
    assert [path.name for path in (pod.root / "data").iterdir()] == []


def test_outputs_ends_in_the_middle_of_a_file(pods, silent) -> None:
    pod = pods(
        "head -c 30000000 /dev/zero > {root}/file", outputs=[Deliver(index=0, path="/file", url=f"{silent.url}/file")]
    )
    pod.inputs(), pod.shim(0)
    outputs = pod.outputs()
    assert _Silent.began.wait(30)
    outputs.terminate()
    assert outputs.wait(10) == TERMINATED
    assert pod.termination.read_text() == ""


def test_a_term_that_comes_first_of_all_is_heeded(pods) -> None:
    pod = pods("true")
    inputs = pod.inputs()
    until(lambda: _blocks_term(inputs.pid))
    inputs.terminate()
    assert inputs.wait(10) == TERMINATED


def _blocks_term(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = next(line for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(blocked.split()[1], 16) & 1 << signal.SIGTERM - 1)
