"""Nothing that a task plants leads the host out of its folder; the same suite for the kernel's way and for our own."""

import contextlib
import errno
import itertools
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tesk.inside import Inside, delete_folder

NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture(params=[True, False], ids=["openat2", "walk"])
def inside(root: Path, request: pytest.FixtureRequest) -> Iterator[Inside]:
    with Inside(root, openat2=request.param) as inside:
        yield inside


def read(inside: Inside, path: str) -> bytes:
    with os.fdopen(inside.open(path), "rb") as file:
        return file.read()


def write(inside: Inside, path: str, data: bytes) -> None:
    with os.fdopen(inside.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(data)


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


def test_a_hundred_thousand_entries_are_deleted(root: Path) -> None:
    here = os.open(root, os.O_RDONLY)
    for number in range(50_000):
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
    assert inside._openat2 is False
    assert os.read(inside.open("/link"), 10) == b"inside"
"""


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_a_kernel_or_filter_without_openat2_is_noticed(root: Path, code: int) -> None:
    (root / "file").write_text("inside")
    os.symlink("/file", root / "link")
    subprocess.run([sys.executable, "-c", WITHOUT_OPENAT2, root, str(code)], check=True)


# A tree of a few names in which every entry may be a link to any place, in or out; then each way of touching it.
NAMES = st.sampled_from(["a", "b", "c"])
TARGETS = st.sampled_from(
    [
        "/a",
        "b",
        "..",
        "../..",
        "../outside",
        "../../outside/file",
        "{out}",
        "{out}/file",
        "/a/b",
        "/b/../../outside",
        ".",
        "/c/c/a",
    ]
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
ENTRIES = st.dictionaries(PATHS, st.one_of(st.none(), st.just("folder"), st.just("fifo"), TARGETS), max_size=8)
ACTS = st.lists(
    st.tuples(st.sampled_from(["read", "write", "make", "list", "remove", "tree", "chmod", "rename"]), PATHS, PATHS),
    max_size=6,
)


@pytest.mark.parametrize("openat2", [True, False], ids=["openat2", "walk"])
@given(entries=ENTRIES, acts=ACTS)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_outside_is_read_written_or_deleted(
    tmp_path_factory: pytest.TempPathFactory,
    openat2: bool,
    entries: dict[str, str | None],
    acts: list[tuple[str, str, str]],
) -> None:
    area = tmp_path_factory.mktemp("hostile")
    root, outside = area / "root", area / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "file").write_text("secret")
    before = snapshot(outside)
    for path, what in sorted(entries.items(), key=lambda item: item[0].count("/")):
        plant(root, path, what, outside)
    with Inside(root, openat2=openat2) as inside:
        for act, path, other in acts:
            try:
                seen = perform(inside, act, path, other)
            except OSError:
                continue
            assert "secret" not in seen
            assert "file" not in seen
    delete_folder(root)
    assert snapshot(outside) == before
    assert os.listdir(area) == ["outside"]


def plant(root: Path, path: str, what: str | None, outside: Path) -> None:
    place = root / path[1:]
    if (
        any(part.is_symlink() or part.is_fifo() or part.is_file() for part in place.parents if part != root)
        or place.exists()
    ):
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if what is None:
        place.write_text("inside")
    elif what == "folder":
        place.mkdir()
    elif what == "fifo":
        os.mkfifo(place)
    else:
        os.symlink(what.format(out=outside), place)


def perform(inside: Inside, act: str, path: str, other: str) -> str:
    match act:
        case "read":
            return read(inside, path).decode()
        case "write":
            write(inside, path, b"planted")
        case "make":
            inside.make_folders(path)
        case "list":
            return " ".join(entry.name for entry in inside.list(path))
        case "remove":
            inside.remove(path)
        case "tree":
            inside.remove_tree(path)
        case "chmod":
            inside.chmod(path, 0o777)
        case "rename":
            inside.rename(path, other)
    return ""


def snapshot(folder: Path) -> list[tuple[str, int, bytes]]:
    return [
        (str(path), path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *sorted(folder.rglob("*"))]
    ]
