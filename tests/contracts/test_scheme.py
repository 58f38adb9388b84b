"""What every scheme promises, over each of them with a real source; what one cannot do, it says so kindly."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.web import serve
from tesk.errors import TransferFailed, TransferRefused
from tesk.settings import FileRoot
from tesk.storage.file import FileScheme
from tesk.storage.http import HttpScheme
from tesk.storage.patience import Patience
from tesk.storage.scheme import Scheme
from tesk.tes.task import FileType


@dataclass
class World:
    """A scheme, a URL below which things lie, and a way to put one there."""

    scheme: Scheme
    base: str
    plant: Callable[[str, bytes], None]


@pytest.fixture(params=["file", "plain", "http"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    def plant(name: str, data: bytes) -> None:
        path = tmp_path / "there" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    if request.param == "http":
        with serve() as web:
            scheme = HttpScheme(private=True, patience=Patience(1))
            yield World(scheme, web.url, lambda name, data: web.files.update({"/" + name: data}))
            scheme.close()
        return
    there = tmp_path / "there"
    there.mkdir()
    prefix = "file://" if request.param == "file" else ""
    yield World(FileScheme((FileRoot(path=str(there), write=True),)), f"{prefix}{there}", plant)


@pytest.fixture
def target() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def nothing(size_bytes: int) -> None:
    """An Advance that lets everything pass."""


def content(target: int) -> bytes:
    return os.pread(target, 1 << 26, 0)


def test_a_file_arrives_whole_and_its_size_is_said(world: World, target: int) -> None:
    data = os.urandom(3_000_001)
    world.plant("a/b.bin", data)
    told: list[int] = []
    arrived = world.scheme.get(f"{world.base}/a/b.bin", target, told.append)
    assert arrived.size_bytes == len(data) == sum(told)
    assert content(target) == data


def test_an_empty_file_arrives(world: World, target: int) -> None:
    world.plant("empty", b"")
    assert world.scheme.get(f"{world.base}/empty", target, nothing).size_bytes == 0
    assert content(target) == b""


def test_stat_says_what_is_there(world: World) -> None:
    world.plant("a", b"12345")
    entry = world.scheme.stat(f"{world.base}/a")
    assert entry is not None
    assert (entry.type, entry.size_bytes) == (FileType.FILE, 5)
    assert world.scheme.stat(f"{world.base}/nothing") is None


def test_what_is_not_there_is_refused_with_its_name(world: World, target: int) -> None:
    with pytest.raises(TransferRefused, match=r"/nothing: .*no such file"):
        world.scheme.get(f"{world.base}/nothing", target, nothing)


def test_a_transfer_stops_when_it_is_told_to(world: World, target: int) -> None:
    world.plant("a", b"x" * 1000)

    def stop(size_bytes: int) -> None:
        raise TransferFailed("stopped")

    with pytest.raises(TransferFailed, match="stopped"):
        world.scheme.get(f"{world.base}/a", target, stop)


def test_a_put_is_whole_or_leaves_nothing(world: World, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"data")
    source.chmod(0o700)
    with source.open("rb") as file:
        if isinstance(world.scheme, HttpScheme):
            with pytest.raises(TransferRefused, match="cannot store outputs"):
                world.scheme.put(file.fileno(), f"{world.base}/x/y", nothing)
            return

        def stop(size_bytes: int) -> None:
            raise TransferFailed("stopped")

        with pytest.raises(TransferFailed):
            world.scheme.put(file.fileno(), f"{world.base}/x/y", stop)
        assert os.listdir(tmp_path / "there/x") == []
        for _ in range(2):
            assert world.scheme.put(file.fileno(), f"{world.base}/x/y", nothing).size_bytes == 4
    made = tmp_path / "there/x/y"
    assert made.read_bytes() == b"data"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(made.stat().st_mode) == 0o766 & ~umask
    assert made.stat().st_nlink == 1


def test_a_tree_is_listed_parents_first_with_its_empty_folders(world: World, tmp_path: Path, target: int) -> None:
    names = ["b/c d#?%.txt", "b/e/f", "a"]
    for name in names:
        world.plant(name, b"1")
    if not world.scheme.has_folders:
        with pytest.raises(TransferRefused, match="no folders"):
            list(world.scheme.list(f"{world.base}/"))
        with pytest.raises(TransferRefused, match="no folders"):
            world.scheme.make_directory(f"{world.base}/x")
        return
    world.scheme.make_directory(f"{world.base}/z/empty")
    world.scheme.make_directory(f"{world.base}/z/empty")
    entries = list(world.scheme.list(world.base))
    assert {entry.name for entry in entries if entry.type is FileType.FILE} == set(names)
    assert {entry.name for entry in entries if entry.type is FileType.DIRECTORY} == {"b", "b/e", "z", "z/empty"}
    seen = {""}
    for entry in entries:
        assert entry.name.rpartition("/")[0] in seen
        seen.add(entry.name)
        if entry.type is FileType.FILE:
            assert world.scheme.get(entry.url, target, nothing).size_bytes == 1
            os.ftruncate(target, 0)
