"""What the program gets: its arguments, variables, folder and name, byte for byte, whatever the image has."""

import json
import os
import sys
from pathlib import Path

import pytest

from fakes import executor
from fakes.shim import shim

ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"
VARIABLES = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.mark.parametrize(
    "arguments",
    [
        ["$(HOME)", "$$", "$HOME", "${HOME}", "$(", "`id`"],
        ["a\nb", "", " ", "\t", "'", '"', "\\", "*", "~", "ä€𝄞", "\x01\x7f", "<&>"],
        ["x" * 1000] * 400,
        ["y" * (128 * 1024 - 1)],
    ],
    ids=["no expansion", "odd ones", "400 kB in all", "128 KiB in one"],
)
def test_arguments_reach_the_program_as_they_are(make_one, arguments):
    one = make_one(sys.executable, "-c", ARGUMENTS, *arguments, tail_bytes=10)
    assert one.run().exit_code == 0
    assert json.loads(one.stdout) == arguments


def test_variables_reach_the_program_as_they_are_and_none_of_kubernetes(make_one):
    given = {"A": "true", "B": "123", "C": "a\nb", "D": "$(A) $$", "E": "", "HOME": "/of/the/task", "ODD.name-1": "x"}
    one = make_one(sys.executable, "-c", VARIABLES, env=given)
    of_the_image = {
        "HOME": "/of/the/image",
        "IMAGE": "1",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "KUBERNETES_PORT": "1",
    }
    assert one.run(env=of_the_image).exit_code == 0
    seen = json.loads(one.stdout)
    seen.pop("LC_CTYPE", None)  # Python's own
    assert seen == {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "IMAGE": "1", **given}


def test_variables_for_go_programs_of_the_image_mean_nothing_to_the_shim(make_one):
    one = make_one("sh", "-c", "echo $GODEBUG $GOGC $GOMAXPROCS >&2")
    of_the_image = {"GODEBUG": "schedtrace=1", "GOGC": "off", "GOMAXPROCS": "64"}
    assert one.run(env=of_the_image).exit_code == 0
    assert one.tail("stderr") == b"schedtrace=1 off 64\n"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Give a folder of programs, most of which are none."""
    folder = tmp_path / "programs"
    (folder / "first").mkdir(parents=True)
    (folder / "second").mkdir()
    texts = {
        "first/closed": ("#!/bin/sh\n", 0o644),
        "first/there": ("#!/bin/sh\n", 0o644),
        "second/there": ("#!/bin/sh\necho second\n", 0o755),
        "first/orphan": ("#!/no/such/thing\n", 0o755),
        "first/nonsense": ("\x7fnonsense", 0o755),
    }
    for name, (text, mode) in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(mode)
    (folder / "first/folder").mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("nothing", 127, "command not found: nothing"),
        ("/no/where", 127, "command not found: /no/where"),
        ("./no/where", 127, "command not found: ./no/where"),
        ("/etc/passwd/x", 127, "command not found: /etc/passwd/x"),
        ("closed", 126, "cannot be executed: {}/first/closed: permission denied"),
        ("{}/first/closed", 126, "cannot be executed: {}/first/closed: permission denied"),
        ("orphan", 126, "cannot be executed: {}/first/orphan: no such interpreter"),
        ("nonsense", 126, "cannot be executed: {}/first/nonsense: exec format error"),
        ("folder", 126, "cannot be executed: {}/first/folder: is a directory"),
    ],
)
def test_a_program_that_cannot_run_ends_as_in_a_shell(make_one, programs, name, code, words):
    one = make_one(name.format(programs), env={"PATH": f"{programs}/first:{programs}/second"})
    status = one.run()
    assert (status.exit_code, status.error) == (code, words.format(programs))
    assert one.stderr.decode() == f"tesk-shim: {status.error}\n"
    assert status.started is not None


def test_what_may_not_be_executed_is_passed_over_for_one_further_on(make_one, programs):
    one = make_one("there", env={"PATH": f"{programs}/first:{programs}/second"})
    assert one.run().exit_code == 0
    assert one.stdout == b"second\n"


def test_an_argument_that_linux_does_not_take_is_said(make_one):
    one = make_one("true", "x" * 128 * 1024)
    status = one.run()
    assert (status.exit_code, status.error) == (
        126,
        "cannot be executed: /usr/bin/true: argument list too long: Linux takes 128 KiB an argument",
    )


def test_the_working_directory_is_the_images_where_it_has_one(make_one, tmp_path):
    (tmp_path / "image").mkdir()
    (tmp_path / "made").mkdir()
    one = make_one("sh", "-c", "pwd -P; echo $PWD; ./a", workdir=f"{tmp_path}/image", workdir_made=f"{tmp_path}/made")
    (tmp_path / "image/a").write_text("#!/bin/sh\necho a\n")
    (tmp_path / "image/a").chmod(0o755)
    assert one.run().exit_code == 0
    assert one.stdout.decode().split() == [f"{tmp_path}/image", f"{tmp_path}/image", "a"]


def test_a_working_directory_that_the_image_lacks_is_a_link_to_the_one_that_was_made(make_one, tmp_path):
    (tmp_path / "made").mkdir()
    one = make_one("sh", "-c", "pwd; echo x >y", workdir=f"{tmp_path}/a/b/c", workdir_made=f"{tmp_path}/made")
    assert one.run().exit_code == 0
    assert one.stdout.decode() == f"{tmp_path}/a/b/c\n"
    assert (tmp_path / "made/y").read_text() == "x\n"


def test_where_no_link_can_be_made_the_program_runs_in_the_folder_that_was_made(make_one, tmp_path):
    (tmp_path / "made").mkdir()
    one = make_one("pwd", "-P", workdir="/proc/none/here", workdir_made=f"{tmp_path}/made")
    assert one.run().exit_code == 0
    assert one.stdout.decode() == f"{tmp_path}/made\n"


def test_a_working_directory_for_which_nothing_was_made_is_made(make_one, tmp_path):
    one = make_one("pwd", workdir=f"{tmp_path}/a/b")
    assert one.run().exit_code == 0
    assert one.stdout.decode() == f"{tmp_path}/a/b\n"


@pytest.mark.parametrize(
    ("folder", "why"), [("/etc/passwd", "not a directory"), ("/proc/x/y", "no such file or directory")]
)
def test_a_working_directory_that_cannot_be_had_is_said_and_nothing_runs(make_one, tmp_path, folder, why):
    one = make_one("touch", f"{tmp_path}/ran", workdir=folder)
    status = one.run()
    assert (status.exit_code, status.started, status.error) == (None, None, f"working directory {folder}: {why}")
    assert not (tmp_path / "ran").exists()


def test_an_image_with_nothing_in_it_is_enough_for_any_user_on_a_read_only_root(tmp_path):
    (tmp_path / "control").mkdir()
    places = ("--ro-bind", str(shim()), "/.tesk/shim/tesk-shim", "--bind", str(tmp_path / "run/control"), "/.tesk/run")
    job = ("--ro-bind", str(tmp_path / "run/job"), "/.tesk/job/job", "--ro-bind", str(shim()), "/program")
    user = ("--unshare-all", "--as-pid-1", "--uid", "4711", "--gid", "4712", "--clearenv", "--cap-drop", "ALL")
    sandbox = ("--die-with-parent", *user, "--proc", "/proc", "--dev", "/dev", *places, *job, "--remount-ro", "/", "--")
    (tmp_path / "run").mkdir()
    with executor.executor(tmp_path / "run", "/program", "version", sandbox=sandbox, env={"A": "b"}) as one:
        process = one.start_within("/.tesk/shim/tesk-shim", "run")
        one.wait_for("here")
        one.turn("run")
        out, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, b"")
        assert out.endswith(b", protocol 1\n")
        assert one.status().exit_code == 0
