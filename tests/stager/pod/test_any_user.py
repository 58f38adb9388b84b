"""Executors may be any users, each another one; and where a pod may have no root, all of it is one user."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.other_user import run_again
from fakes.pod import Pod
from fakes.shim import MADE, shim
from tesk.transfer import Deliver, Fetch

BASELINE = ("setpriv", "--bounding-set=-all,+dac_override,+chown,+fowner")
"""What our containers have of root's rights where a pod may have root: not those to read what others closed, say."""
FIRST, SECOND = 1000, 3000


@pytest.fixture
def area() -> Iterator[Path]:
    """A folder that other users can come to."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can be several users, by setpriv of util-linux")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_users_of_their_own_read_and_change_what_arrived_and_what_they_leave_is_stored(area: Path) -> None:
    source = area / "source"
    source.mkdir(mode=0o700)
    (source / "program").write_text("#!/bin/sh\necho ran\n")
    (source / "program").chmod(0o500)
    (source / "closed").write_text("closed\n")
    (source / "closed").chmod(0o400)
    (area / "single").write_text("single\n")
    (area / "out").mkdir()
    pod = Pod(
        area / "pod",
        "umask 077; cd {root}/data && in/program && echo more >> in/closed && cat in/closed ../etc/single"
        " && mkdir -p out/deep && echo out > out/deep/file && echo changed > ../etc/single && : > made/first",
        "cd {root}/data && echo second > made/second && rm in/closed && ! cat out/deep/file",
        inputs=[
            Fetch(index=0, path="/data/in", url=str(source)),
            Fetch(index=1, path="/etc/single", url=str(area / "single")),
        ],
        outputs=[
            Deliver(index=0, path="/data/out", url=str(area / "out/out")),
            Deliver(index=1, path="/data/made", url=str(area / "out/made")),
        ],
        folders=("/data/out", "/data/made"),
        singles=("/etc/single",),
        wrap=BASELINE,
    )
    try:
        # As `prepare` and the kubelet do before our containers start.
        subprocess.run([str(shim()), "prepare", str(pod.root / "etc/single")], check=True)
        (pod.root / "data").mkdir(mode=0o755)
        report = pod.run(users=[FIRST, SECOND])
    finally:
        pod.close()
    assert [(end.exit_code, end.stderr.count("denied")) for end in report.executors] == [(0, 0), (0, 1)]
    assert report.executors[0].stdout == "ran\nclosed\nmore\nsingle\n"
    assert report.outputs is not None
    assert [file.path for file in report.outputs.files] == [
        "/data/made/first",
        "/data/made/second",
        "/data/out/deep/file",
    ]
    assert report.outputs.error is None
    assert (area / "out/out/deep/file").read_text() == "out\n"


def test_a_users_closed_control_files_are_read(area: Path) -> None:
    pod = Pod(area / "pod", "umask 077; chmod 0 {control}/*; echo said; exit 4", wrap=BASELINE)
    (area / "out").mkdir(exist_ok=True)
    try:
        report = pod.run(users=[FIRST])
    finally:
        pod.close()
    assert [(end.exit_code, end.stdout) for end in report.executors] == [(4, "said\n")]


def test_a_pod_in_which_all_are_one_user_without_rights_does_the_same() -> None:
    here = Path(__file__).parent
    run_again(
        str(here / "test_order.py"),
        str(here / "test_hostile.py"),
        "-k",
        "one_end or has_checked_in or same_ones or closed or links",
        **{MADE: str(shim())},
    )
