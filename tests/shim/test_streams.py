"""Where the program's output goes: the task's files, the tails, the container's log."""

import os
import signal
import subprocess
import sys

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import executor
from fakes.served import until
from fakes.shim import shim
from tesk.pod import ShimStatus

BOTH = "echo to stdout; echo to stderr >&2"


def test_each_stream_goes_to_its_file_its_tail_and_the_containers_log(make, tmp_path):
    one = make("sh", "-c", BOTH, stdout=f"{tmp_path}/a/b/out", stderr=f"{tmp_path}/c/err")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/err").write_text("what an earlier one left, which is longer")
    assert one.run().error is None
    assert (tmp_path / "a/b/out").read_bytes() == one.tail("stdout") == one.stdout == b"to stdout\n"
    assert (tmp_path / "c/err").read_bytes() == one.tail("stderr") == one.stderr == b"to stderr\n"


def test_streams_without_files_have_tails(make_one):
    one = make_one("sh", "-c", BOTH)
    assert one.run().error is None
    assert (one.tail("stdout"), one.tail("stderr")) == (b"to stdout\n", b"to stderr\n")


def test_both_streams_may_go_to_one_file_which_has_them_in_order(make_one, tmp_path):
    alternating = "for n in $(seq 500); do echo $n; echo -$n >&2; done"
    one = make_one("sh", "-c", alternating, stdout=f"{tmp_path}/all", stderr=f"{tmp_path}/all")
    assert one.run().error is None
    written = [each for n in range(1, 501) for each in (str(n), f"-{n}")]
    assert (tmp_path / "all").read_text().splitlines() == one.tail("stdout").decode().splitlines() == written


def test_stdin_is_the_file_or_nothing(make_one, tmp_path):
    (tmp_path / "in").write_text("given")
    assert make_one("cat", stdin=f"{tmp_path}/in", name="a").run().exit_code == 0
    nothing = make_one("cat", name="b")
    assert nothing.run().exit_code == 0
    assert nothing.stdout == b""


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_a_stream_that_cannot_be_opened_is_said_and_nothing_runs(make_one, tmp_path, stream):
    one = make_one("touch", f"{tmp_path}/ran", **{stream: "/etc/passwd/x"})
    status = one.run()
    assert (status.exit_code, status.started) == (None, None)
    assert status.error == f"{stream} /etc/passwd/x: not a directory"
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_is_said_beside_the_exit_code(make_one):
    one = make_one("sh", "-c", f"{BOTH}; exit 5", stdout="/dev/full")
    status = one.run()
    assert (status.exit_code, status.error) == (5, "stdout is not whole: no space left on device")
    assert one.tail("stdout") == b"to stdout\n"


def test_a_disk_that_the_program_filled_has_room_for_how_it_ended(tmp_path):
    # The control folder is a disk of 64 KiB here, which is read before it goes away.
    sandbox = (*executor.FIRST_PROCESS, "--size", "65536", "--tmpfs", "/mnt", "--")
    with executor.executor(tmp_path, "sh", "-c", "cat /dev/zero >/mnt/large; exit 3", sandbox=sandbox) as one:
        script = 'echo run >/mnt/turn; "$1" run --control /mnt --job "$2"; cat /mnt/status.json'
        process = one.start_within("sh", "-c", script, "sh", str(shim()), str(one.job))
        out, errors = process.communicate(timeout=30)
        assert b"No space left on device" in errors
        assert msgspec.json.decode(out, type=ShimStatus).exit_code == 3


def test_a_log_that_nobody_reads_stops_no_program(make, tmp_path):
    one = make("sh", "-c", "for i in 1 2 3 4 5; do echo $i || exit 9; done", stdout=f"{tmp_path}/out")
    process = one.start()
    process.stdout.close()
    one.wait_for("here")
    one.turn("run")
    assert process.wait(30) == 0
    assert (tmp_path / "out").read_text() == "1\n2\n3\n4\n5\n"


def test_a_large_output_is_whole(make_one, tmp_path):
    one = make_one("sh", "-c", "seq 1 2000000; seq 1 300000 >&2", stdout=f"{tmp_path}/out", stderr=f"{tmp_path}/err")
    assert one.run().error is None
    whole = subprocess.run(["seq", "1", "2000000"], capture_output=True, check=True).stdout
    assert (tmp_path / "out").read_bytes() == one.stdout == whole
    assert (tmp_path / "err").read_bytes() == one.stderr
    assert one.tail("stdout") == whole[-65536:]


PIECES = """
import os, sys
for n in map(int, sys.argv[1:]):
    sys.stdout.buffer.write(bytes(97 + i % 26 for i in range(n))); sys.stdout.flush()
"""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=st.integers(1, 40), sizes=st.lists(st.integers(0, 60), max_size=8))
def test_the_tail_is_the_last_bytes(tmp_path_factory, keep, sizes):
    folder = tmp_path_factory.mktemp("tail")
    with executor.executor(folder, sys.executable, "-S", "-E", "-c", PIECES, *map(str, sizes), tail_bytes=keep) as one:
        assert one.run().exit_code == 0
        assert one.tail("stdout") == one.stdout[-keep:]


def test_no_tail_is_kept_where_none_is_wanted(make_one):
    one = make_one("sh", "-c", BOTH, tail_bytes=0)
    assert one.run().exit_code == 0
    assert not [name for name in one.files() if name.startswith("std")]
    assert one.stdout == b"to stdout\n"


def test_a_tail_survives_a_kill(make, tmp_path):
    enough = tmp_path / "enough"
    # It says when it has written more than a tail holds, and goes on.
    one = make("sh", "-c", "seq 1 100000; echo >$1; seq 100001 100000000", "sh", str(enough), tail_bytes=10000)
    process = one.start(stdout=subprocess.DEVNULL)
    one.wait_for("here")
    one.turn("run")
    until(enough.exists)
    os.kill(one.pid(process), signal.SIGKILL)
    process.wait(30)
    tail = one.tail("stdout")
    assert len(tail) >= 10000 - 1
    numbers = [int(line) for line in tail.split(b"\n")[1:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "in order, without a gap"
