"""How much an attempt takes of the disk, while its programs do their worst."""

import os
import threading
from pathlib import Path

from tesk.compute.machine.disk import used_bytes


def test_blocks_count_names_and_holes_do_not(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/full").write_bytes(os.urandom(1_000_000))
    (tmp_path / "a/again").hardlink_to(tmp_path / "a/b/full")
    (tmp_path / "link").symlink_to("/usr")
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(10**12)
    assert 1_000_000 <= used_bytes([str(tmp_path)]) < 1_200_000


def test_a_folder_that_becomes_a_link_leads_nobody_out(tmp_path: Path) -> None:
    outside, task = tmp_path / "outside", tmp_path / "task"
    for folder in (outside, task, task / "real"):
        folder.mkdir()
    (outside / "big").write_bytes(os.urandom(3_000_000))
    (task / "link").symlink_to(outside)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for old, new in (("real", "x"), ("link", "real"), ("real", "link"), ("x", "real")):
                os.rename(task / old, task / new)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        assert max(used_bytes([str(task)]) for _ in range(3000)) < 100_000
    finally:
        done.set()
        swapping.join()
