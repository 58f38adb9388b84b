"""The init container of the copying layout, the shim's own tests, and what it may weigh."""

import os
import re
import stat
import subprocess

import pytest

from fakes.shim import GO_PATH, HOUSE, go, shim


def call(*arguments, **options):
    return subprocess.run([shim(), *arguments], capture_output=True, text=True, check=False, **options)


def test_it_says_its_version_and_protocol():
    assert re.fullmatch(r"tesk-shim \d+\.\d+\.\d+\S*, protocol 1\n", call("version").stdout)


@pytest.mark.parametrize("arguments", [[], ["dance"], ["run", "x"], ["run", "--job"]])
def test_what_it_does_not_know_it_does_not_do(arguments):
    done = call(*arguments)
    assert done.returncode == 125
    assert "usage:" in done.stderr


def test_the_program_is_copied_and_files_are_made_twice_the_same(tmp_path):
    (tmp_path / "shim").mkdir()
    single, there = tmp_path / "root/etc/x/app.conf", tmp_path / "there"
    there.write_text("kept")
    for _ in range(2):
        done = call("prepare", "--install", str(tmp_path / "shim"), str(single), str(there), umask=0o077)
        assert (done.returncode, done.stderr) == (0, "")
    copy = tmp_path / "shim/tesk-shim"
    assert copy.read_bytes() == shim().read_bytes()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (copy, single, single.parent, single.parent.parent)]
    assert modes == [0o755, 0o666, 0o777, 0o777]
    assert (single.read_bytes(), there.read_text()) == (b"", "kept")
    assert [path.name for path in (tmp_path / "shim").iterdir()] == ["tesk-shim"]


def test_what_cannot_be_made_is_said():
    done = call("prepare", "/proc/none/x")
    assert (done.returncode, done.stderr) == (125, "tesk-shim: mkdir /proc/none: no such file or directory\n")


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_it_is_small_and_needs_no_library(architecture):
    path = {**os.environ, "PATH": GO_PATH}
    go()
    subprocess.run([HOUSE / "scripts/make-shim", architecture], env=path, check=True)
    program = HOUSE / f"build/shim/tesk-shim-{architecture}"
    assert program.stat().st_size < 2_500_000
    assert b"/lib/ld-" not in program.read_bytes()
    assert b"/lib64/ld-" not in program.read_bytes()


def test_its_own_tests_pass():
    environment = {**os.environ, "PATH": GO_PATH, "GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local"}
    cgo = subprocess.run(
        [go(), "env", "CGO_ENABLED", "CC"], env=environment, capture_output=True, text=True, check=True
    )
    races = (
        cgo.stdout.split()[0] == "1"
        and subprocess.run(["which", cgo.stdout.split()[1]], check=False, capture_output=True).returncode == 0
    )
    done = subprocess.run(
        [go(), "test", *(["-race"] if races else []), "./..."],
        cwd=HOUSE / "shim",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
