"""Nothing that a task plants leads the host out of its folder; the same tests for the kernel's way and for our own."""

import errno
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.folders import read, write
from tesk.inside import Inside

NOBODY = 65534


def test_files_are_made_read_and_replaced(inside: Inside, root: Path) -> None:
    inside.make_folders("/a/b")
    write(inside, "/a/b/c", b"one")
    write(inside, "a/b/c", b"2")
    inside.rename("/a/b/c", "/a/d")
    assert read(inside, "/a/../a/./d") == b"2"
    assert (root / "a/d").read_bytes() == b"2"
    inside.remove("/a/d")
    inside.remove("/a/d")
    inside.remove("/a/b")
    assert os.listdir(root / "a") == []


@pytest.mark.parametrize(
    "target",
    ["{out}/secret", "../secret", "../../../../../../{out}/secret", "/../secret", "loop", "/proc/self/root/etc/passwd"],
)
def test_a_link_out_of_the_root_leads_to_nothing(inside: Inside, root: Path, target: str) -> None:
    os.symlink(target.format(out=root.parent), root / "loop")
    with pytest.raises(OSError) as caught:
        read(inside, "/loop")
    assert caught.value.filename == "/loop"


def test_a_folder_link_out_of_the_root_takes_nothing_in(inside: Inside, root: Path) -> None:
    os.symlink(root.parent, root / "up")
    for act in (
        lambda: write(inside, "/up/new", b"x"),
        lambda: inside.make_folders("/up/folder"),
        lambda: list(inside.list("/up")),
        lambda: inside.chmod("/up/secret", 0),
        lambda: inside.chown("/up/secret", (1, 1)),
        lambda: inside.rename("/up/secret", "/got"),
    ):
        with pytest.raises(OSError):
            act()
    inside.remove_tree("/up/secret")
    inside.remove_tree("/up")
    assert sorted(os.listdir(root.parent)) == ["root", "secret"]
    assert os.listdir(root) == []


def test_links_inside_are_followed_also_absolute_ones(inside: Inside, root: Path) -> None:
    inside.make_folders("/data/x")
    write(inside, "/data/x/f", b"inside")
    os.symlink("/data", root / "absolute")
    os.symlink("../data/../absolute/x", root / "data/relative")
    assert read(inside, "/absolute/relative/f") == b"inside"
    assert inside.stat("/absolute").st_mode & 0o170000 == stat.S_IFDIR
    assert stat.S_ISLNK(inside.stat("/absolute", follow=False).st_mode)
    assert [entry.name for entry in inside.list("/absolute/relative")] == ["f"]


def test_a_link_to_nothing_yet_is_made_where_it_leads(inside: Inside, root: Path) -> None:
    inside.make_folders("/logs")
    os.symlink("/logs/now", root / "one")
    os.symlink("one", root / "two")
    write(inside, "/two", b"x")
    assert (root / "logs/now").read_bytes() == b"x"
    os.symlink(root.parent / "planted", root / "out")
    with pytest.raises(FileNotFoundError):
        write(inside, "/out", b"x")
    assert not (root.parent / "planted").exists()


def test_exclusive_creation_does_not_follow_a_link(inside: Inside, root: Path) -> None:
    os.symlink("/target", root / "link")
    with pytest.raises(FileExistsError):
        inside.open("/link", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.close(inside.open("/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    assert stat.S_IMODE((root / "new").stat().st_mode) == 0o600


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREAT])
def test_pipes_sockets_devices_and_folders_are_never_opened_as_files(inside: Inside, root: Path, flags: int) -> None:
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
    names = {"pipe": "a named pipe", "folder": "a folder", "socket": "a socket"}
    if os.geteuid() == 0:
        os.mknod(root / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        names["device"] = "a device"
    for name, words in names.items():
        with pytest.raises(OSError, match=words):
            inside.open(f"/{name}", flags)


def test_links_in_a_ring_end(inside: Inside, root: Path) -> None:
    os.symlink("b", root / "a")
    os.symlink("a", root / "b")
    os.symlink("x/../" * 800 + "deep", root / "deep")
    (root / "x").mkdir()
    for name in ("/a", "/a/x", "/deep"):
        with pytest.raises(OSError) as caught:
            inside.stat(name)
        assert caught.value.errno == errno.ELOOP


def test_a_machine_on_which_files_are_renamed_all_the_time_hides_nothing(
    inside: Inside, root: Path, tmp_path: Path
) -> None:
    write(inside, "/file", b"x")
    (root / "x").mkdir()
    (tmp_path / "a").touch()
    renames = "import os\nprint(flush=True)\nwhile True: os.rename('a', 'b'); os.rename('b', 'a')"
    with subprocess.Popen([sys.executable, "-c", renames], cwd=tmp_path, stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        try:
            for _ in range(20):
                assert read(inside, "/" + "x/../" * 800 + "file") == b"x"
        finally:
            busy.kill()


def test_names_that_are_no_utf8_survive(inside: Inside, root: Path) -> None:
    name = os.fsdecode(b"a\xff\n#")
    write(inside, "/" + name, b"x")
    assert os.listdir(os.fsencode(root)) == [b"a\xff\n#"]
    assert [entry.name for entry in inside.list("/")] == [name]
    assert read(inside, "/" + name) == b"x"


def test_a_path_that_names_no_entry_is_refused(inside: Inside) -> None:
    for path in ("/", "", "/a/..", "/.", "/a\0b"):
        with pytest.raises((OSError, ValueError)):
            inside.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def test_folders_that_were_made_belong_to_the_owner(inside: Inside, root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    inside.make_folders("/a")
    inside.make_folders("/a/b/c", owner=(NOBODY, NOBODY))
    assert (root / "a").stat().st_uid == 0
    assert (root / "a/b").stat().st_uid == (root / "a/b/c").stat().st_uid == NOBODY
    os.symlink(root.parent / "secret", root / "link")
    inside.chown("/link", (NOBODY, NOBODY))
    assert (root.parent / "secret").stat().st_uid == 0


def test_a_file_in_the_way_of_a_folder_is_named(inside: Inside) -> None:
    write(inside, "/a", b"")
    with pytest.raises(NotADirectoryError, match="is a file, not a folder: '/a'"):
        inside.make_folders("/a/b/c")


WITHOUT_OPENAT2 = """
import ctypes, os, struct, sys
from pathlib import Path
from tesk.inside import Inside
instructions = [(0x20, 0, 0, 0), (0x15, 0, 1, 437), (0x06, 0, 0, 0x00050000 | int(sys.argv[2])), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in instructions))
libc = ctypes.CDLL(None, use_errno=True)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code)))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())
with Inside(Path(sys.argv[1])) as inside:
    assert inside._root.openat2 is False
    assert os.read(inside.open("/link"), 10) == b"inside"
"""


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_a_kernel_or_filter_without_openat2_is_noticed(root: Path, code: int) -> None:
    (root / "file").write_text("inside")
    os.symlink("/file", root / "link")
    subprocess.run([sys.executable, "-c", WITHOUT_OPENAT2, root, str(code)], check=True)
