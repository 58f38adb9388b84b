"""What happens in a pod, in order: inputs, one executor after the other, outputs, the report."""

import contextlib
import os
import signal
from pathlib import Path

import pytest
from msgspec import json

from fakes.pod import waits_for_a_lock
from fakes.served import until
from tesk.pod import InputsEnd
from tesk.tes.task import FileType
from tesk.transfer import Deliver, Fetch


def test_a_task_with_inputs_and_outputs_is_run_from_one_end_to_the_other(pods, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("some\n")
    pod = pods(
        "cat {root}/data/in.txt; echo more >> {root}/data/in.txt",
        "echo problem >&2; tr a-z A-Z < {root}/data/in.txt > {root}/data/out.txt",
        inputs=[Fetch(index=0, path="/data/in.txt", url=str(tmp_path / "in.txt"))],
        outputs=[Deliver(index=0, path="/data/out.txt", url=str(tmp_path / "out/out.txt"), type=FileType.FILE)],
    )
    report = pod.run()
    assert report.error is None
    assert report.inputs is not None
    assert report.inputs.error is None
    assert [(end.index, end.exit_code, end.stdout, end.stderr) for end in report.executors] == [
        (0, 0, "some\n", ""),
        (1, 0, "", "problem\n"),
    ]
    assert (tmp_path / "out/out.txt").read_text() == "SOME\nMORE\n"
    assert (tmp_path / "in.txt").read_text() == "some\n"
    assert report.outputs is not None
    assert [(file.path, file.size_bytes) for file in report.outputs.files] == [("/data/out.txt", 10)]
    assert pod.summary() == report
    assert [process.wait(10) for process in pod.processes] == [0, 0, 0, 0]


def test_the_transfers_sentences_are_in_the_report(pods, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("some\n")
    pod = pods(
        "true",
        inputs=[Fetch(index=0, path="/data/in.txt", url=str(tmp_path / "in.txt"))],
        outputs=[Deliver(index=0, path="/data/in.txt", url=str(tmp_path / "out/in.txt"))],
    )
    report = pod.run()
    assert report.inputs is not None
    assert report.outputs is not None
    assert report.inputs.warnings[-1].startswith("inputs: 1 file, 5 bytes in ")
    assert report.outputs.warnings[-1].startswith("outputs: 1 file, 5 bytes in ")
    assert report.outputs.types == {0: FileType.FILE}


def test_after_a_failure_no_executor_runs_and_what_exists_is_stored(pods, tmp_path: Path) -> None:
    pod = pods(
        "echo some > {root}/data/out.txt; exit 3",
        "touch {root}/data/ran",
        "touch {root}/data/ran",
        folders=("/data",),
        outputs=[Deliver(index=0, path="/data/*", path_prefix="/data", url=str(tmp_path / "out/"))],
    )
    report = pod.run()
    assert [(end.index, end.exit_code) for end in report.executors] == [(0, 3)]
    assert report.outputs is not None
    assert [file.path for file in report.outputs.files] == ["/data/out.txt"]
    assert [process.wait(10) for process in pod.processes] == [0, 3, 0, 0, 0]


def test_a_failure_that_is_ignored_lets_the_next_one_run(pods) -> None:
    report = pods("exit 3", "exit 4", "true", ignore_errors=[0]).run()
    assert [(end.index, end.exit_code) for end in report.executors] == [(0, 3), (1, 4)]


def test_inputs_that_cannot_be_had_let_no_executor_run_and_nothing_is_stored(pods, tmp_path: Path) -> None:
    pod = pods(
        "touch {root}/ran",
        inputs=[Fetch(index=0, path="/data/in.txt", url=str(tmp_path / "missing"))],
        outputs=[Deliver(index=0, path="/ran", url=str(tmp_path / "out/ran"))],
    )
    report = pod.run()
    assert report.error is None
    assert report.inputs is not None
    assert report.inputs.error == f"inputs[0].url: {tmp_path}/missing: there is no such file"
    assert (report.executors, report.outputs) == ((), None)
    assert not (pod.root / "ran").exists()
    assert [process.wait(10) for process in pod.processes] == [0, 0, 0]


def test_no_executor_runs_before_the_last_one_has_checked_in(pods) -> None:
    """A bad image in the last executor stops the task before the first one runs."""
    pod = pods("true", "true")
    inputs, _ = pod.inputs(), pod.shim(0)
    outputs = pod.outputs()
    until(lambda: (pod.executor(0) / "here").exists() and (pod.control / "inputs/lock").exists())
    with pytest.raises(Exception, match="timed out"):
        inputs.wait(0.3)
    assert not (pod.executor(0) / "turn").exists()
    pod.shim(1)
    assert len(pod.report(outputs).executors) == 2


def test_waiting_costs_nothing(pods) -> None:
    pod = pods("true")
    inputs, outputs = pod.inputs(), pod.outputs()
    until(lambda: _watches(inputs.pid) and waits_for_a_lock(outputs.pid))
    before = [_ticks(process.pid) for process in (inputs, outputs)]
    with pytest.raises(Exception, match="timed out"):
        inputs.wait(1.5)
    assert all(_ticks(process.pid) <= ticks + 1 for process, ticks in zip((inputs, outputs), before, strict=True))
    pod.shim(0)
    assert pod.report(outputs).executors[0].exit_code == 0


def test_an_executor_whose_shim_is_killed_with_its_program_is_said_to_be_killed(pods, tmp_path: Path) -> None:
    """As the kernel does where a container has no memory left."""
    pod = pods(
        "echo so far; echo part > {root}/part; touch {root}/begun; exec sleep 1000",
        "true",
        outputs=[Deliver(index=0, path="/part", url=str(tmp_path / "out/part"))],
    )
    pod.inputs()
    shim, _, outputs = pod.shim(0), pod.shim(1), pod.outputs()
    until(lambda: (pod.root / "begun").exists() and (pod.executor(0) / "stdout.0").read_bytes())
    shim.send_signal(signal.SIGKILL)
    report = pod.report(outputs)
    (end,) = report.executors
    assert (end.killed, end.exit_code, end.error, end.stdout) == (True, None, None, "so far\n")
    assert end.started is not None
    assert end.ended is not None
    assert end.started <= end.ended
    assert (tmp_path / "out/part").read_text() == "part\n"
    assert report.error is None


def test_an_executor_that_is_killed_and_may_fail_lets_the_next_one_run(pods) -> None:
    pod = pods("touch {root}/begun; exec sleep 1000", "true", ignore_errors=[0])
    pod.inputs()
    shim, _, outputs = pod.shim(0), pod.shim(1), pod.outputs()
    until((pod.root / "begun").exists)
    shim.send_signal(signal.SIGKILL)
    assert [(end.killed, end.exit_code) for end in pod.report(outputs).executors] == [(True, None), (False, 0)]


def test_a_shim_that_is_gone_before_its_turn_stops_all_and_says_so(pods) -> None:
    pod = pods("until test -e {root}/go; do sleep 0.01; done", "true", "true", ignore_errors=[0, 1, 2])
    pod.inputs()
    _, second, _, outputs = pod.shim(0), pod.shim(1), pod.shim(2), pod.outputs()
    until((pod.executor(0) / "begun").exists)
    second.send_signal(signal.SIGKILL)
    second.wait(10)
    (pod.root / "go").touch()
    ends = pod.report(outputs).executors
    assert [(end.exit_code, end.killed, end.lost, end.error) for end in ends] == [
        (0, False, False, None),
        (None, False, True, "its container ended before its program began"),
    ]


def test_a_program_that_never_ran_stops_all_whatever_may_fail(pods) -> None:
    pod = pods("true", "true", ignore_errors=[0, 1], streams={"stdout": "{root}/file/below"})
    pod.root.mkdir()
    (pod.root / "file").touch()
    (end,) = pod.run().executors
    assert (end.exit_code, end.lost) == (None, False)
    assert end.error is not None
    assert "file/below" in end.error


def test_inputs_that_go_away_without_a_word_are_no_kept_protocol(pods) -> None:
    pod = pods("touch {root}/ran")
    inputs = pod.inputs()
    until((pod.control / "inputs/lock").exists)
    inputs.kill()
    inputs.wait(10)
    shim, outputs = pod.shim(0), pod.outputs()
    report = pod.report(outputs)
    assert report.error == "the container `inputs` ended without a word"
    assert (outputs.wait(10), shim.wait(10)) == (1, 0)
    assert not (pod.root / "ran").exists()
    assert pod.inputs().wait(10) == 0
    assert (pod.executor(0) / "turn").read_text() == "skip\n"


def test_the_tails_of_a_stream_are_the_last_of_it_in_whole_characters(pods) -> None:
    pod = pods("for i in 1 2 3 4 5 6 7 8 9; do printf 'häß%s' $i; done; printf 'ende' >&2", tail_bytes=16)
    (end,) = pod.run().executors
    assert "häß1häß2häß3häß4häß5häß6häß7häß8häß9".endswith(end.stdout)
    assert 13 <= len(end.stdout.encode()) <= 16
    assert end.stderr == "ende"


def test_files_that_are_mounted_by_themselves_stay_the_same_ones(pods, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("setting\n")
    pod = pods(
        "cat {root}/etc/app.conf",
        inputs=[Fetch(index=0, path="/etc/app.conf", url=str(tmp_path / "app.conf"))],
        singles=("/etc/app.conf",),
    )
    there = pod.root / "etc/app.conf"
    there.parent.mkdir(parents=True)
    there.write_text("something longer that was there before, from a run that was killed")
    before = there.stat().st_ino
    assert pod.run().executors[0].stdout == "setting\n"
    assert there.stat().st_ino == before


def test_what_inputs_has_said_lists_no_files(pods, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("some\n")
    pod = pods("true", inputs=[Fetch(index=0, path="/data/in.txt", url=str(tmp_path / "in.txt"))])
    pod.run()
    end = json.decode((pod.control / "inputs/report.json").read_bytes(), type=InputsEnd)
    assert end.report.files == ()
    assert end.report.size_bytes == 5


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _watches(pid: int) -> bool:
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            if os.readlink(fd) == "anon_inode:inotify":
                return True
    return False
