"""Files of the host: only below the folders that a caller may use, whatever links and names say."""

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tesk.errors import TransferError, TransferFailed, TransferRefused
from tesk.settings import FileRoot
from tesk.storage.file import FileScheme, copy
from tesk.tes.task import FileType


@pytest.fixture
def target() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


@pytest.fixture
def area(tmp_path: Path) -> Path:
    for name in (
        "read/a",
        "read/deep/b",
        "read/.ssh/key",
        "read/deep/.hidden",
        "write/old",
        "secret/s",
        "read/data/db",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture
def scheme(area: Path) -> FileScheme:
    roots = (FileRoot(path=f"{area}/read", hidden=False), FileRoot(path=f"{area}/write", write=True))
    return FileScheme(roots, denied=(f"{area}/read/data",))


def get(scheme: FileScheme, url: str, target: int) -> str:
    os.ftruncate(target, 0)
    scheme.get(url, target, lambda size_bytes: None)
    return os.pread(target, 1000, 0).decode()


def put(scheme: FileScheme, url: str) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"new")
        file.flush()
        scheme.put(file.fileno(), url, lambda size_bytes: None)


@pytest.mark.parametrize(
    "url", ["{}/read/a", "file://{}/read/a", "file://localhost{}/read/%61", "file:{}/read/deep/../a"]
)
def test_every_way_to_write_a_path_is_understood(scheme: FileScheme, area: Path, url: str, target: int) -> None:
    assert get(scheme, url.format(area), target) == "read/a"


@pytest.mark.parametrize("url", ["file://elsewhere/read/a", "file:read/a", "file:///a%00b"])
def test_what_names_no_file_of_this_host_is_refused(scheme: FileScheme, url: str, target: int) -> None:
    with pytest.raises(TransferRefused):
        get(scheme, url, target)


@pytest.mark.parametrize(
    "path", ["secret/s", "read/../secret/s", "read/.ssh/key", "read/.ssh", "read/data/db", "read", "", "readable"]
)
def test_nothing_else_is_read(scheme: FileScheme, area: Path, path: str, target: int) -> None:
    with pytest.raises(TransferRefused, match=r"file_roots|is a folder"):
        get(scheme, f"file://{area}/{path}", target)
    if path != "read":
        with pytest.raises(TransferRefused, match=f"they may read below: {area}/read, {area}/write"):
            scheme.stat(f"file://{area}/{path}")


def test_dot_entries_further_down_are_no_secret(scheme: FileScheme, area: Path, target: int) -> None:
    assert get(scheme, f"{area}/read/deep/.hidden", target) == "read/deep/.hidden"


def test_a_listing_leaves_out_what_is_hidden_or_denied(scheme: FileScheme, area: Path) -> None:
    assert {entry.name for entry in scheme.list(f"{area}/read")} == {"a", "deep", "deep/b", "deep/.hidden"}


def test_links_lead_anywhere_below_the_roots_and_nowhere_else(scheme: FileScheme, area: Path, target: int) -> None:
    os.symlink(area / "write/old", area / "read/good")
    os.symlink(area / "write", area / "read/folder")
    os.symlink("../secret/s", area / "read/bad")
    os.symlink(area / "read/.ssh/key", area / "read/deep/key")
    os.symlink("/proc/self/fd/0", area / "read/magic")
    assert get(scheme, f"{area}/read/good", target) == "write/old"
    assert get(scheme, f"{area}/read/folder/old", target) == "write/old"
    for name in ("bad", "deep/key", "magic"):
        with pytest.raises(TransferRefused):
            get(scheme, f"{area}/read/{name}", target)
        with pytest.raises(TransferRefused):
            scheme.stat(f"{area}/read/{name}")
    with pytest.raises(TransferRefused):
        list(scheme.list(f"{area}/read"))


def test_a_ring_of_links_in_a_tree_ends(scheme: FileScheme, area: Path) -> None:
    os.symlink("..", area / "read/deep/up")
    with pytest.raises(TransferRefused, match="leads back"):
        list(scheme.list(f"{area}/read"))


def test_a_root_that_is_itself_a_link_holds_what_it_leads_to(area: Path, target: int) -> None:
    os.symlink(area / "read", area / "home")
    scheme = FileScheme((FileRoot(path=f"{area}/home", write=True),))
    assert get(scheme, f"{area}/home/deep/b", target) == "read/deep/b"
    put(scheme, f"{area}/home/deep/c")
    assert (area / "read/deep/c").read_text() == "new"


def test_nothing_is_written_elsewhere(scheme: FileScheme, area: Path) -> None:
    os.symlink(area / "secret", area / "write/out")
    os.symlink(area / "read", area / "write/readonly")
    os.symlink(area / "secret/s", area / "write/file")
    for path in (
        "read/new",
        "secret/new",
        "write/out/new",
        "write/out/x/y",
        "write/readonly/new",
        "write/../secret/n",
        "write",
    ):
        with pytest.raises(TransferRefused):
            put(scheme, f"{area}/{path}")
    put(scheme, f"{area}/write/file")
    assert (area / "secret/s").read_text() == "secret/s"
    assert (area / "write/file").read_text() == "new"
    assert sorted(os.listdir(area / "secret")) == ["s"]
    assert not (area / "read/new").exists()


def test_no_output_lands_where_git_would_run_it(area: Path) -> None:
    (area / "write/project/.git/hooks").mkdir(parents=True)
    scheme = FileScheme((FileRoot(path=f"{area}/write", write=True, hidden=False),))
    os.symlink(".git", area / "write/project/git")
    for path in (".git/x", "project/.git/hooks/pre-commit", "project/git/hooks/pre-commit", "new/.git", ".envrc"):
        with pytest.raises(TransferRefused):
            put(scheme, f"{area}/write/{path}")
    put(scheme, f"{area}/write/project/.command.out")
    put(scheme, f"{area}/write/project/x.git/.gitignore")
    assert not [*(area / "write/project/.git/hooks").iterdir()]


def test_a_folder_in_the_place_of_an_output_stays(scheme: FileScheme, area: Path) -> None:
    (area / "write/folder").mkdir()
    with pytest.raises(TransferRefused, match="Is a directory"):
        put(scheme, f"{area}/write/folder")
    assert sorted(os.listdir(area / "write")) == ["folder", "old"]


def test_a_write_root_that_is_not_there_yet_is_made(area: Path) -> None:
    put(FileScheme((FileRoot(path=f"{area}/tesk", write=True),)), f"{area}/tesk/a/b")
    assert (area / "tesk/a/b").read_text() == "new"


def test_pipes_sockets_and_devices_are_not_read(scheme: FileScheme, area: Path, target: int) -> None:
    os.mkfifo(area / "read/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(area / "read/s"))
    for name in ("pipe", "s"):
        with pytest.raises(TransferRefused, match="neither a file nor a folder"):
            get(scheme, f"{area}/read/{name}", target)


def test_names_with_odd_bytes_survive(area: Path, target: int) -> None:
    name = os.fsdecode(b"a \xff#?%\n")
    (area / "read" / name).write_text("odd")
    scheme = FileScheme((FileRoot(path=f"{area}/read"),))
    for base in (f"file://{area}/read", f"{area}/read"):
        (url,) = [entry.url for entry in scheme.list(base) if entry.name == name]
        assert get(scheme, url, target) == "odd"
    assert f"file://{area}/read/a%20%FF%23%3F%25%0A" in {entry.url for entry in scheme.list(f"file://{area}/read")}


@pytest.mark.parametrize("other", ["/dev/shm", "/tmp"])
def test_a_copy_from_another_file_system_is_the_same(other: str, tmp_path: Path) -> None:
    data = os.urandom(2_500_000)
    with tempfile.TemporaryFile(dir=other) as source, (tmp_path / "copy").open("wb+") as copied:
        source.write(data)
        source.flush()
        assert copy(source.fileno(), copied.fileno(), lambda size_bytes: None, reflink=False) == len(data)
    assert (tmp_path / "copy").read_bytes() == data


def test_files_of_proc_that_say_no_size_are_copied(target: int) -> None:
    scheme = FileScheme((FileRoot(path="/proc/sys/kernel"),))
    assert get(scheme, "/proc/sys/kernel/ostype", target) == "Linux\n"


def test_where_the_file_system_clones_a_copy_is_a_clone(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb+") as source, (tmp_path / "b").open("wb+") as clone:
        source.write(b"x" * 100_000)
        source.flush()
        try:
            fcntl.ioctl(clone.fileno(), 0x40049409, source.fileno())
        except OSError:
            pytest.skip("this file system cannot clone files")
        clone.truncate(0)
        steps: list[int] = []
        assert copy(source.fileno(), clone.fileno(), steps.append, reflink=True) == 100_000
        assert steps == [100_000]


ASKS_FOR_CLONES = """
import os, sys
from tesk.settings import FileRoot, StorageSettings
from tesk.storage.file import for_caller
area, reflink = sys.argv[1], sys.argv[2] == "True"
asked = []
sys.addaudithook(lambda event, given: asked.append(given[1]) if event == "fcntl.ioctl" else None)
roots = (FileRoot(path=area, write=True),)
scheme = for_caller(StorageSettings(file_roots=roots, file_reflink=reflink), "me")
source = os.open(area + "/a", os.O_RDONLY)
scheme.put(source, area + "/b", lambda size_bytes: None)
scheme.get(area + "/b", os.open(area + "/c", os.O_RDWR | os.O_CREAT), lambda size_bytes: None)
assert asked == ([0x40049409] * 2 if reflink else []), asked
"""


@pytest.mark.parametrize("reflink", [True, False])
def test_files_are_cloned_only_where_the_settings_let_them(tmp_path: Path, reflink: bool) -> None:
    # By what the system is asked, since few file systems can clone; a hook cannot be taken out of a process again.
    (tmp_path / "a").write_text("data")
    subprocess.run([sys.executable, "-c", ASKS_FOR_CLONES, tmp_path, str(reflink)], check=True)
    assert (tmp_path / "c").read_text() == "data"


def test_holes_stay_holes(tmp_path: Path) -> None:
    with (tmp_path / "source").open("w+b") as source, (tmp_path / "copied").open("w+b") as copied:
        for at, data in ((0, b"begin"), (10**7, b"middle" * 10_000), (10**12 - 10**6, b"late")):
            source.seek(at)
            source.write(data)
        source.flush()
        os.ftruncate(source.fileno(), 10**12)
        moved: list[int] = []
        assert copy(source.fileno(), copied.fileno(), moved.append, reflink=False) == 10**12
        assert os.fstat(copied.fileno()).st_size == 10**12
        assert os.fstat(copied.fileno()).st_blocks * 512 < 10**6
        assert sum(moved) < 10**6
        for at, data in ((0, b"begin\0"), (10**7, b"middle" * 10_000 + b"\0"), (10**12 - 10**6, b"late\0")):
            assert os.pread(copied.fileno(), len(data), at) == data


def test_a_full_disk_is_said(scheme: FileScheme, area: Path) -> None:
    with open("/dev/full", "rb+", buffering=0) as full, pytest.raises(TransferError, match="disk is full") as caught:
        scheme.get(f"{area}/read/a", full.fileno(), lambda size_bytes: None)
    assert isinstance(caught.value, TransferFailed)


def test_a_folder_is_no_file(scheme: FileScheme, area: Path) -> None:
    entry = scheme.stat(f"{area}/read/deep")
    assert entry is not None
    assert entry.type is FileType.DIRECTORY
    with pytest.raises(TransferRefused, match="is a file, not a folder"):
        list(scheme.list(f"{area}/read/a"))
