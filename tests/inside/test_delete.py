"""What hostile programs leave goes, and nothing else."""

import contextlib
import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tesk.inside import Inside, delete_folder

NOBODY = 65534


def descend(root: Path, depth: int) -> None:
    here = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def test_paths_longer_than_the_kernel_takes_are_found_and_deleted(inside: Inside, root: Path) -> None:
    descend(root, 5000)
    assert inside.stat("/d" * 5000 + "/f") is not None
    inside.remove_tree("/")
    assert os.listdir(root) == []
    inside.remove_tree("/nothing")


@pytest.mark.parametrize("entries", [10_000, pytest.param(100_000, marks=pytest.mark.faults)])
def test_very_many_entries_are_deleted(root: Path, entries: int) -> None:
    here = os.open(root, os.O_RDONLY)
    for number in range(entries // 2):
        os.symlink("/etc", f"l{number}", dir_fd=here)
        os.mkdir(f"d{number}", dir_fd=here)
    os.close(here)
    delete_folder(root)
    assert os.listdir(root.parent) == ["secret"]
    delete_folder(root)


AS_NOBODY = f"""
import os, sys
from pathlib import Path
from tesk.inside import Inside, delete_folder
root = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
(root / "a/b/c").mkdir(parents=True)
for file in ("a/f", "a/b/c/f"):
    (root / file).write_text("x")
    (root / file).chmod(0)
with Inside(root) as inside:
    os.close(inside.open("/a/f"))
    (root / "a/b").chmod(0)
    assert [found.name for found in inside.list("/a/b")] == ["c"]
for folder in ("a/b/c", "a/b", "a"):
    (root / folder).chmod(0)
delete_folder(root / "a")
assert os.listdir(root) == []
"""


def test_what_nobody_may_read_is_read_and_deleted_by_its_owner(root: Path) -> None:
    root.chmod(0o777)
    for folder in itertools.takewhile(
        lambda folder: folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"), root.parents
    ):
        folder.chmod(0o755)
    subprocess.run([sys.executable, "-c", AS_NOBODY, root], check=True)


def test_deletion_wins_against_somebody_who_still_makes_files(root: Path) -> None:
    made = threading.Event()

    def plant() -> None:
        for number in range(3000):
            with contextlib.suppress(OSError):
                (root / f"busy/x{number % 50}/y{number}").mkdir(parents=True)
                (root / f"busy/x{number % 50}/y{number}/f").touch()
            if number == 200:
                made.set()

    thread = threading.Thread(target=plant)
    thread.start()
    assert made.wait(10)
    delete_folder(root / "busy")
    thread.join(30)
    delete_folder(root)
    assert os.listdir(root.parent) == ["secret"]


def test_another_file_system_below_is_not_touched(root: Path) -> None:
    other = root.parent / "other"
    (root / "a/mount").mkdir(parents=True)
    (root / "a/file").touch()
    other.mkdir()
    (other / "precious").touch()
    program = (
        "import sys, errno; from pathlib import Path; from tesk.inside import delete_folder\n"
        "try: delete_folder(Path(sys.argv[1]))\n"
        "except OSError as error: sys.exit(0 if error.errno == errno.EBUSY else error.errno)\n"
        "sys.exit(1)"
    )
    script = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$5"'
    wrapper = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*wrapper, other, root / "a/mount", sys.executable, program, root], capture_output=True, check=False
    )
    if b"unshare" in done.stderr or b"mount:" in done.stderr:
        pytest.skip("this machine lets us mount nothing")
    assert done.returncode == 0, done.stderr
    assert (other / "precious").exists()
    assert not (root / "a/file").exists()
