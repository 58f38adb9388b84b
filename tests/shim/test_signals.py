"""Signals, orphans, daemons, memory: how a program and all that it started come to an end."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.served import until

HEEDS = "trap 'echo got it; exit 7' {}; echo ready >$1; while :; do sleep 1000 & wait $!; done"


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """Give the path of a file by which a program says that it is ready."""
    return tmp_path / "ready"


def running(one, ready):
    """Start an executor and return its process when its program is ready."""
    process = one.start()
    one.wait_for("here")
    one.turn("run")
    until(ready.exists)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGRTMIN + 3])
def test_a_signal_before_the_turn_is_the_end(make, number):
    one = make("true")
    process = one.start()
    one.wait_for("here")
    os.kill(one.pid(process), number)
    assert process.wait(30) == 128 + number
    assert sorted(one.files()) == ["here", "lock"]


def test_the_program_is_asked_to_end_and_waited_for(make, ready):
    one = make("sh", "-c", HEEDS.format("TERM"), "sh", str(ready))
    process = running(one, ready)
    os.kill(one.pid(process), signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (7, b"got it\n")
    assert (one.status().exit_code, one.status().signal, one.status().told) == (7, None, True)


@pytest.mark.parametrize("command", ["exit 7", "kill -9 $$"])
def test_a_program_that_fails_by_itself_was_not_told_to(make, command):
    one = make("sh", "-c", command)
    process = one.start()
    one.wait_for("here")
    one.turn("run")
    process.wait(30)
    assert not one.status().told


def test_all_processes_of_the_program_are_asked_to_end(make, ready):
    deep = "sh -c 'trap \"echo deep; exit 0\" TERM; echo >$1; while :; do sleep 1000 & wait $!; done' sh $1 & wait $!; wait $!; exit 3"
    one = make("sh", "-c", f"trap : TERM; {deep}", "sh", str(ready))
    process = running(one, ready)
    os.kill(one.pid(process), signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (3, b"deep\n")


def test_a_program_that_does_not_heed_term_dies_of_it(make, ready):
    one = make("sh", "-c", "echo >$1; exec sleep 1000", "sh", str(ready))
    process = running(one, ready)
    os.kill(one.pid(process), signal.SIGTERM)
    assert process.wait(30) == 143
    assert (one.status().exit_code, one.status().signal) == (143, 15)


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "USR1", "USR2", "WINCH"])
def test_other_signals_reach_the_program(make_one, ready, name):
    one = make_one("sh", "-c", HEEDS.format(name), "sh", str(ready))
    process = running(one, ready)
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert process.wait(30) == 7


def test_signals_have_their_usual_meaning_for_the_program(make_one):
    one = make_one("cat", "/proc/self/status")
    one.run()
    facts = dict(line.split(":\t", 1) for line in one.stdout.decode().splitlines())
    c_librarys = 1 << 31 | 1 << 32  # signals 32 and 33: what began this run may have them set
    assert {int(facts[name], 16) & ~c_librarys for name in ("SigBlk", "SigIgn", "SigCgt")} == {0}


def test_orphans_are_reaped_while_the_program_runs(make, ready):
    orphans = "i=0; while [ $i -lt 50 ]; do (sleep 0.01 &) ; i=$((i+1)); done; echo >$1; sleep 1000"
    one = make("sh", "-c", orphans, "sh", str(ready))
    process = running(one, ready)
    shim = one.pid(process)
    children = Path(f"/proc/{shim}/task/{shim}/children")
    until(lambda: len(children.read_text().split()) == 1)
    os.kill(shim, signal.SIGTERM)
    process.wait(30)


@pytest.mark.parametrize(
    "how", ["(sleep 1000 &);", "setsid sleep 1000 &", "trap '' TERM HUP; setsid sh -c 'sleep 1000; :' &"]
)
def test_a_daemon_that_holds_the_streams_ends_with_the_program(make, tmp_path, living, how):
    one = make("sh", "-c", f"exec 9>$1; {how} echo done; exit 6", "sh", str(living.path), stdout=f"{tmp_path}/out")
    process = one.start()
    one.wait_for("here")
    begin = time.monotonic()
    one.turn("run")
    assert process.wait(30) == 6
    assert living.nobody()
    assert time.monotonic() - begin < 4, "nobody's patience was needed"
    assert (tmp_path / "out").read_text() == "done\n"


def test_what_was_written_last_is_kept(make, tmp_path):
    one = make("sh", "-c", "seq 1 300000; kill -9 $$", stdout=f"{tmp_path}/out")
    status = one.run()
    assert (status.exit_code, status.signal, status.error) == (137, 9, None)
    assert (tmp_path / "out").read_bytes().endswith(b"\n299999\n300000\n")


@contextlib.contextmanager
def little_memory() -> Iterator[Path]:
    """Give a control group of 64 MB; skip where none can be made."""
    for parent, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(parent, f"tesk-tests-{os.getpid()}")
        try:
            group.mkdir()
            (group / limit).write_text("64000000")
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        try:
            yield group
        finally:
            group.rmdir()
        return
    pytest.skip("only root makes control groups for memory")


@pytest.mark.parametrize(
    ("program", "code"),
    [("{} -c 'x = bytearray(200_000_000)'", 137), ("{} -c 'x = bytearray(200_000_000)' || exit 3", 3)],
)
def test_want_of_memory_is_said(make, program, code):
    with little_memory() as group:
        one = make("sh", "-c", program.format(sys.executable) + "; exit $?")
        enter = ("sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh")
        process = one.start(before=enter)
        one.wait_for("here")
        one.turn("run")
        assert process.wait(60) == code
        assert one.status().error == "killed by the kernel's out-of-memory killer"
        one.end()
