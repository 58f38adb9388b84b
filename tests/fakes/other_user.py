"""Run tests again as a user without rights, where root runs them: `python -m fakes.other_user ARGUMENTS OF PYTEST`."""

import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tesk.compute.local import user

HOUSE = Path(__file__).resolve().parent.parent.parent
AGAIN = "TESK_TESTS_AS_USER"
NAME = "nobody"
IDS = 3_000_000


def run_again(*tests: str, **variables: str) -> None:
    """Run tests as another user, with variables of the environment. They must all pass."""
    if os.geteuid() != 0:
        pytest.skip("these tests run as a user without rights already")
    there = user.executor_user(NAME, is_root=True)
    assert there is not None
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chown(folder, *there.owner)
        options = ["-p", "no:cacheprovider", "-q", f"--basetemp={folder}/t"]
        done = subprocess.run(
            [sys.executable, "-m", "fakes.other_user", *options, *tests],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{HOUSE}/tests", "HOME": folder, AGAIN: folder} | variables,
            cwd=HOUSE,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]


def become(folder: Path) -> None:
    """Become the other user, for good. Python, this house and `folder` stay reachable below closed folders."""
    there = user.executor_user(NAME, is_root=True)
    assert there is not None
    needed = [Path(sys.base_prefix), Path(sys.prefix), HOUSE, folder]
    # The folders that are closed above them: each is covered once, with a way to all that lies in it.
    libc = ctypes.CDLL(None, use_errno=True)
    _give_ids(libc, folder)
    for closed in dict.fromkeys(user._closed_above(there, path) for path in needed):
        if closed is not None:
            inside = [path for path in needed if closed in path.parents]
            user._open_ways(closed, inside)
    os.setgroups([])
    os.setresgid(there.gid, there.gid, there.gid)
    os.setresuid(there.uid, there.uid, there.uid)
    libc.prctl(4, 1)  # PR_SET_DUMPABLE: /proc/self is ours


def _give_ids(libc: ctypes.CDLL, folder: Path) -> None:
    """Let the other user have the ids of a range, as users of rootless containers do; nobody else sees it."""
    ids = folder / "ids"
    ids.write_text(f"{NAME}:{IDS}:65536\n")
    if libc.unshare(0x20000) or libc.mount(None, b"/", None, 0x4000 | 0x80000, None):  # CLONE_NEWNS; MS_REC | MS_SLAVE
        raise OSError(ctypes.get_errno(), "no mounts of our own")
    for file in (b"/etc/subuid", b"/etc/subgid"):
        if os.path.exists(file):
            libc.mount(os.fsencode(ids), file, None, 0x1000, None)  # MS_BIND


def main() -> None:
    """Become the other user and give way to pytest."""
    become(Path(os.environ[AGAIN]))
    os.execv(sys.executable, [sys.executable, "-B", "-m", "pytest", *sys.argv[1:]])


if __name__ == "__main__":
    main()
