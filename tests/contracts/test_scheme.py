"""What every scheme promises, over each of them with a real source; what one cannot do, it says so kindly."""

import os
import stat
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from fakes import worlds_apache, worlds_drs, worlds_file, worlds_ftp, worlds_objects, worlds_web
from fakes.worlds import Make, World
from tesk.errors import TransferFailed, TransferRefused
from tesk.storage.scheme import Streams
from tesk.storage.url import below
from tesk.tes.task import FileType

WORLDS: dict[str, Make] = {
    "file": worlds_file.by_url,
    "path": worlds_file.by_path,
    "webdav": worlds_web.over_webdav,
    "apache": worlds_apache.over_apache,
    "https": worlds_web.over_tls,
    "http": worlds_web.plain,
    "ftp": worlds_ftp.in_the_open,
    "ftps": worlds_ftp.over_tls,
    "s3": worlds_objects.over_s3,
    "s3 and TLS": worlds_objects.over_s3_and_tls,
    "gs": worlds_objects.over_gs,
    "az": worlds_objects.over_az,
}
READ_ONLY: dict[str, Make] = {"drs": worlds_drs.bundles}
ODD = ["a b", "a#b", "a?b", "a%b", "a%20b", "a\nb", "ä", "a+b&c=d;e", "-", "[x]", "a:b", "'\"<&>"]


@pytest.fixture(params=WORLDS | READ_ONLY)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "there"
    folder.mkdir()
    with (WORLDS | READ_ONLY)[request.param](folder) as made:
        yield made


@pytest.fixture(params=WORLDS)
def writable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "there"
    folder.mkdir()
    with WORLDS[request.param](folder) as made:
        yield made


@pytest.fixture
def target() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[int]:
    with (tmp_path / "source").open("wb+") as file:
        file.write(b"data")
        file.flush()
        yield file.fileno()


def nothing(size_bytes: int) -> None:
    """An Advance that lets everything pass."""


def stop(size_bytes: int) -> None:
    """An Advance that lets nothing pass."""
    raise TransferFailed("stopped")


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


def test_who_can_give_a_file_in_order_gives_each_byte_once(world: World) -> None:
    if not isinstance(world.scheme, Streams):
        pytest.skip("it gives files whole")
    for name, data in (("a/b.bin", os.urandom(3_000_001)), ("empty", b"")):
        world.plant(name, data)
        given = bytearray()
        assert world.scheme.stream(f"{world.base}/{name}", given.extend) == len(data)
        assert sha256(given).digest() == sha256(data).digest()
    with pytest.raises(TransferRefused, match="nothing"):
        world.scheme.stream(f"{world.base}/nothing", given.extend)
    with pytest.raises(TransferFailed, match="stopped"):
        world.scheme.stream(f"{world.base}/a/b.bin", lambda _: stop(0))


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
    with pytest.raises(TransferFailed, match="stopped"):
        world.scheme.get(f"{world.base}/a", target, stop)


def test_a_put_is_whole_or_leaves_nothing(writable: World, source: int) -> None:
    with pytest.raises(TransferFailed, match="stopped"):
        writable.scheme.put(source, f"{writable.base}/x/y", stop)
    assert writable.stored("x/y") is None
    for _ in range(2):
        told: list[int] = []
        assert writable.scheme.put(source, f"{writable.base}/x/y", told.append).size_bytes == 4 == sum(told)
        assert writable.stored("x/y") == b"data"


def test_what_gives_only_refuses_kindly_to_take(tmp_path: Path, source: int) -> None:
    for make in READ_ONLY.values():
        with make(tmp_path) as world:
            with pytest.raises(TransferRefused, match="outputs cannot be stored"):
                world.scheme.put(source, f"{world.base}/x", nothing)
            with pytest.raises(TransferRefused, match="outputs cannot be stored"):
                world.scheme.make_directory(f"{world.base}/x")


def test_a_put_has_the_last_word(writable: World, source: int) -> None:
    writable.plant("x/y", b"something longer")
    writable.scheme.put(source, f"{writable.base}/x/y", nothing)
    assert writable.stored("x/y") == b"data"


def test_large_and_empty_files_are_stored_whole(writable: World, source: int) -> None:
    data = os.urandom(5_000_001)
    for length in (len(data), 0):
        os.ftruncate(source, 0)
        os.pwrite(source, data[:length], 0)
        assert writable.scheme.put(source, f"{writable.base}/large", nothing).size_bytes == length
        assert writable.stored("large") == data[:length]


def test_odd_names_survive_both_ways(writable: World, source: int, target: int) -> None:
    names = [name for name in ODD if "\n" not in name or writable.lines_in_names]
    names += [os.fsdecode(b"\xff\xfe")] * writable.bytes_in_names
    for name in names:
        url = below(writable.base, f"{name}/{name}")
        writable.scheme.put(source, url, nothing)
        assert writable.stored(f"{name}/{name}") == b"data"
        os.ftruncate(target, 0)
        assert writable.scheme.get(url, target, nothing).size_bytes == 4
    if writable.lists:
        assert {entry.name for entry in writable.scheme.list(f"{writable.base}/") if entry.type is FileType.FILE} == {
            f"{name}/{name}" for name in names
        }


def test_the_mode_of_a_file_is_kept_where_there_are_modes(tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "there/y"
    source.write_bytes(b"data")
    source.chmod(0o754)
    made.parent.mkdir()
    with worlds_file.by_path(made.parent) as world, source.open("rb") as file:
        world.scheme.put(file.fileno(), str(made), nothing)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(made.stat().st_mode) == 0o754 & ~umask
    assert made.stat().st_nlink == 1
    assert os.listdir(made.parent) == ["y"]


def test_a_tree_is_listed_parents_first_with_its_empty_folders(world: World, target: int) -> None:
    names = ["b/c d#?%.txt", "b/e/f", "a"]
    for name in names:
        world.plant(name, b"1")
    if not world.lists:
        with pytest.raises(TransferRefused, match="does not list folders"):
            list(world.scheme.list(f"{world.base}/"))
        return
    folders = {"b", "b/e"}
    if world.folders:
        for _ in range(2):
            world.scheme.make_directory(f"{world.base}/z/empty")
        folders |= {"z", "z/empty"}
    entries = list(world.scheme.list(world.base))
    assert {entry.name for entry in entries if entry.type is FileType.FILE} == set(names)
    assert {entry.name for entry in entries if entry.type is FileType.DIRECTORY} >= folders
    seen = {""}
    for entry in entries:
        assert entry.name.rpartition("/")[0] in seen
        seen.add(entry.name)
        if entry.type is FileType.FILE:
            assert world.scheme.get(entry.url, target, nothing).size_bytes == 1
            os.ftruncate(target, 0)


def test_a_folder_can_be_made_twice_or_is_none(writable: World) -> None:
    for _ in range(2):
        writable.scheme.make_directory(f"{writable.base}/new/one")
    if writable.folders:
        entry = writable.scheme.stat(f"{writable.base}/new/one")
        assert entry is not None
        assert entry.type is FileType.DIRECTORY


def test_what_is_no_folder_is_not_listed(world: World) -> None:
    world.plant("a", b"1")
    with pytest.raises(TransferRefused):
        list(world.scheme.list(f"{world.base}/a"))
    with pytest.raises(TransferRefused):
        list(world.scheme.list(f"{world.base}/nothing"))
