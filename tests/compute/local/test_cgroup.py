"""Control groups: of version 1 by the kernel's own here, of version 2 by a folder that behaves like them."""

import os
from pathlib import Path

import pytest

from tesk.compute.local.cgroup import NoCgroups, find_cgroups
from tesk.compute.machine.processes import look_at
from tesk.compute.machine.size import gigabytes
from tesk.settings import LocalSettings

FILES = {
    "cgroup.procs": "",
    "cgroup.controllers": "cpu io memory pids",
    "cgroup.subtree_control": "",
    "memory.max": "max",
    "memory.swap.max": "max",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
    "pids.max": "max",
    "cpu.weight": "100",
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a mounted tree of version 2 whose groups get their files when they are made, as the kernel does it.

    For that two calls of the system are replaced: where groups of version 1 are at work there are none of version 2.
    """
    make, remove = os.mkdir, os.rmdir

    def mkdir(path, mode=0o777, **more) -> None:
        make(path, mode, **more)
        if Path(path).is_relative_to(tmp_path / "tree"):
            for name, text in FILES.items():
                Path(path, name).write_text(text)

    def rmdir(path, **more) -> None:
        if Path(path).is_relative_to(tmp_path / "tree"):
            for name in FILES:
                Path(path, name).unlink()
        remove(path, **more)

    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(os, "rmdir", rmdir)
    os.mkdir(tmp_path / "tree")
    os.mkdir(tmp_path / "tree/server.scope")
    return tmp_path / "tree/server.scope"


@pytest.fixture
def process(tmp_path: Path, tree: Path) -> Path:
    """Give what the kernel says of a process of that tree."""
    (tmp_path / "mountinfo").write_text(
        "21 20 0:5 / /proc rw,nosuid - proc proc rw\n"
        f"30 24 0:27 / {tree.parent} rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    )
    (tmp_path / "cgroup").write_text("0::/server.scope\n")
    return tmp_path


def test_a_group_of_version_2_holds_memory_processes_and_a_share_of_the_cores(tree: Path, process: Path) -> None:
    (tree / "cgroup.procs").write_text(f"{os.getpid()}\n")
    groups = find_cgroups(LocalSettings(processes_limit=77), "machine:boot:1-2", process)
    assert groups.holds_memory
    assert (tree / "tesk-server/cgroup.procs").read_text() == str(os.getpid()), "so that its group may hold others"
    assert (tree / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    group = groups.make("task-1", ram_bytes=2_000_000_000, cpu_cores=2.5)
    [folder] = tree.glob("tesk-*/task-1")
    assert (folder.parent / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    values = {name: (folder / name).read_text() for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.weight")}
    # A plain file keeps the end of what was longer before.
    assert values == {"memory.max": "2000000000", "memory.swap.max": "0ax", "pids.max": "77x", "cpu.weight": "250"}
    group.add(4711)
    assert (folder / "cgroup.procs").read_text() == "4711"
    assert not group.ran_out()
    (folder / "memory.events").write_text("oom 1\noom_kill 2\n")
    assert group.ran_out()
    group.remove()
    assert not folder.exists()
    assert not group.ran_out()


def test_a_group_with_other_processes_in_it_is_left_as_it_is(tree: Path, process: Path) -> None:
    for group in (tree, tree.parent):
        (group / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    groups = find_cgroups(LocalSettings(), "machine:boot:1-2", process)
    assert isinstance(groups, NoCgroups)
    assert "counted" in groups.says
    assert (tree / "cgroup.subtree_control").read_text() == ""
    assert groups.make("task-1", ram_bytes=1, cpu_cores=1) is None


def test_groups_of_dead_servers_are_removed_and_those_of_living_ones_stay(tree: Path, process: Path) -> None:
    (tree / "cgroup.procs").write_text(f"{os.getpid()}\n")
    us = look_at(os.getpid())
    living, dead = tree / f"tesk-{us.pid}-{us.started}-x", tree / f"tesk-{us.pid}-{us.started - 1}-x"
    for server in (living, dead):
        os.mkdir(server)
        os.mkdir(server / "task-1")
    groups = find_cgroups(LocalSettings(), "machine:boot:1-2", process)
    assert not dead.exists()
    assert (living / "task-1").exists()
    groups.close()
    assert [entry.name for entry in tree.glob("tesk-*-*")] == [living.name]


def test_sizes_are_said_as_tes_says_them() -> None:
    assert [gigabytes(size) for size in (10 * 10**9, 2_500_000_000, 10_000_000)] == ["10 GB", "2.5 GB", "0.01 GB"]
