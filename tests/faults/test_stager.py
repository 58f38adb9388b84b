"""The stager under what seldom happens: many kills, very many files, a very large one, a disk that fills up."""

import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.interrupted import kill_at_random_moments
from fakes.large import bring_in
from fakes.web import Files, serve
from tesk.settings import FileRoot, StorageSettings
from tesk.stager.job import Job, run
from tesk.stager.parallel import Stop
from tesk.transfer import Deliver, Fetch, TransferList, TransferReport

pytestmark = pytest.mark.faults
DISK_BYTES = 8 * 1024**2


@pytest.mark.parametrize("direction", ["inputs", "outputs"])
def test_a_hundred_kills_at_random_moments_leave_nothing_half_and_the_next_run_is_whole(
    tmp_path: Path, direction: str
) -> None:
    kill_at_random_moments(tmp_path, direction, kills=100, seed=20261124)


def test_ten_gigabytes_move_in_less_memory_than_a_hundred_megabytes(tmp_path: Path) -> None:
    there = os.statvfs(tmp_path)
    if there.f_bavail * there.f_frsize < 12 * 1000**3:
        pytest.skip("there are no 12 GB free here")
    assert bring_in(tmp_path, 10 * 1000**3) < 100 * 1000**2


def move(area: Path, *, inputs: tuple[Fetch, ...] = (), outputs: tuple[Deliver, ...] = ()) -> TransferReport:
    job = Job(
        direction="inputs" if inputs else "outputs",
        transfers=TransferList(caller="me", inputs=inputs, outputs=outputs),
        root=str(area / "root"),
        owner=None,
        settings=StorageSettings(
            file_roots=(FileRoot(path=str(area), write=True),), private_addresses=True, file_reflink=False
        ),
    )
    done = run(job, Stop())
    assert done is not None
    return done


def test_a_hundred_thousand_small_outputs_leave_in_bounded_time_and_memory(tmp_path: Path) -> None:
    folders, files = 100, 1000
    for folder in range(folders):
        (tmp_path / f"root/o/{folder}").mkdir(parents=True)
        for name in range(files):
            (tmp_path / f"root/o/{folder}/{name}").write_bytes(b"small")
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    done = move(tmp_path, outputs=(Deliver(index=0, path="/o", url=f"file://{tmp_path}/out"),))
    assert done.error is None
    assert len(done.files) == folders * files
    assert len({file.url for file in done.files}) == folders * files
    assert time.process_time() - began < 180
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250 * 1024
    assert sum(len(names) for _, _, names in os.walk(tmp_path / "out")) == folders * files


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a small disk of its own."""
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tesk-test", str(tmp_path / "disk")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root, and not in every container, can mount a small disk")
    try:
        yield tmp_path / "disk"
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_a_disk_that_is_full_in_the_middle_of_an_input_is_said_and_leaves_nothing_half(
    tmp_path: Path, disk: Path, scheme: str
) -> None:
    (tmp_path / "root").symlink_to(disk)
    data = os.urandom(2 * DISK_BYTES)
    (tmp_path / "large").write_bytes(data)
    with serve(Files, {"/large": data}) as web:
        url = f"{web.url}/large" if scheme == "http" else f"file://{tmp_path}/large"
        began = time.monotonic()
        done = move(tmp_path, inputs=(Fetch(index=0, path="/in/large", url=url),))
    assert done.error is not None
    assert "full" in done.error
    assert done.retry, "another time there may be room"
    assert time.monotonic() - began < 10, "a full disk is not tried again here"
    assert os.listdir(disk / "in") == []
    assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > DISK_BYTES * 0.9


def test_a_disk_that_is_full_in_the_middle_of_outputs_is_said_and_leaves_nothing_half(
    tmp_path: Path, disk: Path
) -> None:
    (tmp_path / "root/o").mkdir(parents=True)
    for number in range(16):
        (tmp_path / f"root/o/{number}").write_bytes(os.urandom(1024**2))
    done = move(tmp_path, outputs=(Deliver(index=0, path="/o", url=f"file://{disk}/o"),))
    assert done.error is not None
    assert "the disk is full" in done.error
    assert done.retry
    arrived = {path.name for path in (disk / "o").iterdir()}
    assert arrived == {Path(file.path).name for file in done.files}, "what is there is in the report"
    for name in arrived:
        assert (disk / "o" / name).read_bytes() == (tmp_path / "root/o" / name).read_bytes()
