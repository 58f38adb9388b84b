"""Whose turn it is: checking in, waiting, running once."""

import os
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest

from fakes.served import until


def test_a_shim_checks_in_and_runs_its_program_when_it_is_told_to(make):
    one = make("sh", "-c", "echo hello; exit 3", index=2, pod="a-uid")
    process = one.start()
    one.wait_for("here")
    assert msgspec.json.decode((one.control / "here").read_bytes()) == {"tesk": "here/1", "pod": "a-uid", "index": 2}
    assert sorted(one.files()) == ["here", "lock"], "nothing before its turn"
    assert one.is_locked()
    one.turn("run")
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (3, b"hello\n")
    status = one.status()
    assert (status.exit_code, status.signal, status.skipped, status.error) == (3, None, False, None)
    assert status.started is not None
    assert 0 < status.ended - status.started < 30
    assert not one.is_locked()
    assert sorted(one.files()) == [
        "begun",
        "here",
        "lock",
        "status.json",
        "stderr.0",
        "stderr.1",
        "stdout.0",
        "stdout.1",
        "turn",
    ]


def test_a_turn_that_was_given_before_is_taken(make_one):
    one = make_one("true")
    one.turn("run")
    assert one.start().wait(30) == 0
    assert one.status().exit_code == 0


def test_a_shim_that_is_told_to_skip_runs_nothing(make_one):
    one = make_one("touch", "/nowhere/at/all")
    process = one.start()
    one.wait_for("here")
    one.turn("skip")
    assert process.wait(30) == 0
    status = one.status()
    assert (status.skipped, status.exit_code, status.started) == (True, None, None)
    assert "begun" not in one.files()


def test_a_word_that_it_does_not_know_is_no_turn(make_one):
    one = make_one("true")
    one.turn("dance")
    assert one.start().wait(30) == 125
    assert one.status().error == "the turn is neither run nor skip"


def test_a_second_shim_runs_nothing_while_the_first_one_does(make):
    one = make("sleep", "1000")
    first = one.start()
    one.wait_for("here")
    one.turn("run")
    one.wait_for("begun")
    before = one.files()
    second = one.start()
    _, errors = second.communicate(timeout=30)
    assert (second.returncode, errors) == (125, b"tesk-shim: this executor is run by another shim\n")
    assert one.files() == before
    assert first.poll() is None


@pytest.mark.parametrize("word", ["run", "skip"])
def test_a_shim_runs_nothing_where_one_has_ended(make_one, word):
    one = make_one("sh", "-c", "exit 4")
    one.turn(word)
    one.start().wait(30)
    before = one.files()
    again = one.start()
    _, errors = again.communicate(timeout=30)
    assert (again.returncode, errors) == (125, b"tesk-shim: this executor has run before, and runs once\n")
    assert one.files() == before


def test_a_killed_shim_takes_its_program_along_and_is_not_followed_by_another(make, living):
    one = make("sh", "-c", "exec 9>$1; exec sleep 1000", "sh", str(living.path))
    process = one.start()
    one.wait_for("here")
    one.turn("run")
    until(living.anybody)
    os.kill(one.pid(process), signal.SIGKILL)
    process.wait(30)
    until(living.nobody)
    assert not one.is_locked()
    assert "begun" in one.files()
    assert "status.json" not in one.files()
    assert one.start().wait(30) == 125


def test_a_shim_that_was_killed_before_its_turn_may_start_again(make):
    one = make("true")
    process = one.start()
    one.wait_for("here")
    os.kill(one.pid(process), signal.SIGKILL)
    process.wait(30)
    assert one.run().exit_code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "EOF"),
        (b"{}", 'is "", and this program reads executor/1'),
        (b'{"tesk": "executor/2", "command": ["true"]}', 'is "executor/2", and this program reads executor/1'),
        (b'{"tesk": "executor/1", "command": []}', "names no program"),
        (b"\x1f\x8bnonsense", "gzip: invalid header"),
        (None, "no such file or directory"),
    ],
)
def test_a_job_that_is_none_is_not_checked_in(make_one, text, words):
    one = make_one("true")
    if text is None:
        one.job.unlink()
    else:
        one.job.write_bytes(text)
    process = one.start()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 125
    assert words in errors.decode()
    assert list(one.files()) == ["lock"]


def test_a_job_may_come_unpacked(make_one):
    one = make_one("true", packed=False)
    assert one.run().exit_code == 0


def cpu_seconds(pid: int) -> float:
    """Return what the threads of a process have run."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def test_waiting_costs_nothing(make):
    one = make("true")
    process = one.start()
    one.wait_for("here")
    until(lambda: (one.control / "here").stat().st_size > 0)
    pid = one.pid(process)
    memory = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]
    assert int(memory) < 6000, "kB"
    begin = cpu_seconds(pid)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    assert cpu_seconds(pid) - begin < 0.003, "0.1 % of a core"


def test_a_shim_without_inotify_finds_its_turn_too(make_one):
    limit = "/proc/sys/user/max_inotify_instances"
    none = ("unshare", "--user", "--map-root-user", "sh", "-c", f'echo 0 >{limit} && exec "$@"', "sh")
    if subprocess.run([*none, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody lower its number of inotify instances in a user namespace")
    one = make_one("true")
    process = one.start(before=none)
    one.wait_for("here")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    begin = cpu_seconds(process.pid)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    assert cpu_seconds(process.pid) - begin < 0.003, "0.1 % of a core"
    one.turn("run")
    assert process.wait(30) == 0
