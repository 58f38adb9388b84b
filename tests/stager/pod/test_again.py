"""Killed at any step and run again it comes to the same: nothing runs twice, nothing is half, nothing is lost."""

import contextlib
import itertools
import random
import signal
import subprocess
from pathlib import Path

import pytest

from fakes.pod import Pod
from fakes.served import until
from tesk.pod import AttemptReport
from tesk.transfer import Deliver, Fetch

KILLED = -signal.SIGKILL


def _pod(pods, area: Path, *commands: str) -> Pod:
    (area / "in").mkdir(exist_ok=True)
    for name in ("a", "b"):
        (area / "in" / name).write_text(name * 1000)
    (area / "single").write_text("single")
    commands = commands or (
        "echo ran >> {root}/data/ran; cat {root}/data/in/* {root}/etc/single > {root}/data/all; echo said",
        "echo ran >> {root}/data/ran; exit 7",
    )
    pod: Pod = pods(
        *commands,
        inputs=[
            Fetch(index=0, path="/data/in", url=str(area / "in")),
            Fetch(index=1, path="/etc/single", url=str(area / "single")),
            Fetch(index=2, path="/data/text", content="text"),
        ],
        outputs=[
            Deliver(index=0, path="/data/all", url=str(area / "out/all")),
            Deliver(index=1, path="/data/ran", url=str(area / "out/ran")),
        ],
        folders=("/data/made",),
        singles=("/etc/single",),
    )
    (pod.root / "etc").mkdir(parents=True)
    (pod.root / "etc/single").touch()
    for index in range(len(commands)):
        pod.shim(index)
        until((pod.executor(index) / "here").exists)
    return pod


def _check(report: AttemptReport, area: Path) -> None:
    assert (report.error, report.inputs and report.inputs.error) == (None, None)
    assert [(end.exit_code, end.stdout) for end in report.executors] == [(0, "said\n"), (7, "")]
    assert report.outputs is not None
    assert [file.path for file in report.outputs.files] == ["/data/all", "/data/ran"]
    assert (area / "out/ran").read_text() == "ran\nran\n"
    assert (area / "out/all").read_text() == "a" * 1000 + "b" * 1000 + "single"


EVERY = [pytest.param(9, id="each ninth"), pytest.param(1, id="each", marks=pytest.mark.faults)]


@pytest.mark.parametrize("stride", EVERY)
def test_inputs_killed_at_any_step_and_run_again_comes_to_the_same(pods, tmp_path: Path, stride: int) -> None:
    for step in itertools.count(1, stride):
        pod = _pod(pods, tmp_path)
        code = pod.inputs(killed_at=step).wait(30)
        if code == KILLED:
            assert pod.inputs().wait(30) == 0
        _check(pod.report(pod.outputs()), tmp_path)
        pod.close()
        if code == 0:
            break
    assert step > 20  # or there are no such steps to count


@pytest.mark.parametrize("stride", EVERY)
def test_outputs_killed_at_any_step_and_run_again_comes_to_the_same(pods, tmp_path: Path, stride: int) -> None:
    for step in itertools.count(1, stride):
        pod = _pod(pods, tmp_path)
        pod.inputs().wait(30)
        outputs = pod.outputs(killed_at=step)
        code = outputs.wait(30)
        _check(pod.report(pod.outputs() if code == KILLED else outputs), tmp_path)
        pod.close()
        if code == 0:
            break
    assert step > 20  # or there are no such steps to count


def test_outputs_run_again_after_its_end_says_the_same(pods, tmp_path: Path) -> None:
    pod = _pod(pods, tmp_path)
    pod.inputs().wait(30)
    first, again = pod.report(pod.outputs()), pod.report(pod.outputs())
    _check(again, tmp_path)
    assert again.executors == first.executors
    assert pod.inputs().wait(30) == 0


@pytest.mark.parametrize("rounds", [pytest.param(2), pytest.param(20, marks=pytest.mark.faults)])
def test_a_pod_that_is_started_again_whole_runs_no_program_twice(pods, tmp_path: Path, rounds: int) -> None:
    """As after a reboot: all containers at once, again and again, at random moments."""
    chance = random.Random(7)
    slow = "echo ran >> {root}/data/ran; sleep 0.1"
    for _ in range(rounds):
        pod = _pod(pods, tmp_path, slow, f"{slow}; echo ran >> {{root}}/data/second")
        for _ in range(3):
            pod.inputs(), pod.shim(0), pod.shim(1)
            with contextlib.suppress(subprocess.TimeoutExpired):
                pod.outputs().wait(chance.uniform(0.05, 0.6))
            pod.close()
        pod.inputs(), pod.shim(0), pod.shim(1)
        report = pod.report(pod.outputs())
        ran = pod.root / "data/ran"
        times = len(ran.read_text().splitlines()) if ran.exists() else 0
        assert times <= 2
        assert times >= sum(end.exit_code == 0 for end in report.executors)
        for end in report.executors:
            assert end.exit_code == 0 or end.killed or end.error
        second = pod.root / "data/second"
        assert not second.exists() or second.read_text() == "ran\n"
