"""Outputs leave as they were made; what is missing or cannot be stored is said in a sentence."""

import os
import socket
import stat

from fakes.desk import DIRECTORY, FILE, Desk, tree
from tesk.tes.task import FileType
from tesk.transfer import Deliver, Fetch


def test_outputs_leave_as_files_and_trees_sorted_by_path(desk: Desk) -> None:
    desk.plant(desk.root / "o/b", "b")
    desk.plant(desk.root / "o/a/x y#", "xy")
    (desk.root / "o/empty").mkdir()
    done = desk.deliver(
        Deliver(index=0, path="/o", url=desk.url(desk.out / "tree")),
        Deliver(index=1, path="/o/b", url=f"{desk.out}/b", type=FILE),
    )
    assert done.error is None
    assert done.types == {0: DIRECTORY}
    assert tree(desk.out) == {
        "b": "b",
        "tree": None,
        "tree/b": "b",
        "tree/a": None,
        "tree/a/x y#": "xy",
        "tree/empty": None,
    }
    assert [(file.index, file.path, file.url, file.size_bytes) for file in done.files] == [
        (0, "/o/a/x y#", f"file://{desk.out}/tree/a/x%20y%23", 2),
        (0, "/o/b", f"file://{desk.out}/tree/b", 1),
        (1, "/o/b", f"{desk.out}/b", 1),
    ]


def test_a_missing_output_is_named_and_the_others_leave(desk: Desk) -> None:
    desk.plant(desk.root / "o/there")
    done = desk.deliver(
        Deliver(index=0, path="/o/lost", url=f"{desk.out}/lost", type=FILE),
        Deliver(index=1, path="/o/there", url=f"{desk.out}/there", type=FILE),
        Deliver(index=2, path="/o/there", url="s3://bucket/key", type=FILE),
        Deliver(index=3, path="/o", url=f"{desk.out}/o", type=FILE),
    )
    assert done.error == "output /o/lost does not exist: no executor has made it (and 2 more)"
    assert not done.retry
    assert tree(desk.out) == {"there": "data"}


def test_patterns_choose_outputs(desk: Desk) -> None:
    for name in ("run1/a.txt", "run1/b.log", "run2/a.txt", "run2/.hid.txt", "run*/a.txt", "run3/dir/x"):
        desk.plant(desk.root / "o" / name, name)
    os.symlink("../run1/a.txt", desk.root / "o/run2/link.txt")

    def names(path: str, prefix: str = "/o", kind: FileType | None = FILE) -> list[str]:
        done = desk.deliver(Deliver(index=0, path=path, url=f"{desk.out}", path_prefix=prefix, type=kind))
        assert done.error is None
        return [file.url.removeprefix(f"{desk.out}/") for file in done.files]

    assert names("/o/*/*.txt") == ["run*/a.txt", "run1/a.txt", "run2/a.txt", "run2/link.txt"]
    assert names("/o/run[12]/a.*", "/o/run") == ["1/a.txt", "2/a.txt"]
    assert names(r"/o/run\*/?.txt", "/") == ["o/run*/a.txt"]
    assert names("/o/run3/*") == []
    assert names("/o/run3/*", kind=None) == ["run3/dir/x"]
    assert names("/o/run?", kind=DIRECTORY)[-1] == "run3/dir/x"
    assert desk.deliver(Deliver(index=5, path="/x/*", url=f"{desk.out}", path_prefix="/x")).warnings == (
        "output /x/*: nothing matches",
    )


def test_links_are_followed_inside_and_what_cannot_be_stored_is_said(desk: Desk) -> None:
    desk.plant(desk.root / "data/real", "real")
    secret = desk.plant(desk.area / "secret", "secret")
    (desk.root / "o").mkdir()
    os.symlink("/data/real", desk.root / "o/inside")
    os.symlink(secret, desk.root / "o/out")
    os.symlink("../../secret", desk.root / "o/up")
    os.symlink("/o", desk.root / "o/ring")
    os.mkfifo(desk.root / "o/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(desk.root / "o/socket"))
    done = desk.deliver(Deliver(index=0, path="/o", url=f"{desk.out}/o"))
    assert done.error is None
    assert tree(desk.out) == {"o": None, "o/inside": "real"}
    assert len(done.warnings) == 5
    for name, words in {
        "out": "leads to nothing",
        "up": "leads to nothing",
        "pipe": "is a named pipe",
        "socket": "is a socket",
    }.items():
        one = desk.deliver(Deliver(index=0, path=f"/o/{name}", url=f"{desk.out}/x", type=FILE))
        assert one.error is not None
        assert words in one.error
        assert any(words in warning for warning in done.warnings)
    os.rename(desk.root / "o", desk.root / "moved")
    os.symlink("/etc", desk.root / "o")
    assert "leads to nothing" in (
        desk.deliver(Deliver(index=0, path="/o", url=f"{desk.out}/etc", type=DIRECTORY)).error or ""
    )


def test_names_that_are_no_utf8_leave_whole(desk: Desk) -> None:
    name = os.fsdecode(b"a\xff\n%")
    desk.plant(desk.root / "o" / name)
    done = desk.deliver(Deliver(index=0, path="/o", url=desk.url(desk.out / "o")))
    assert os.listdir(desk.out / "o") == [name]
    assert done.files[0].url == f"file://{desk.out}/o/a%FF%0A%25"
    assert done.files[0].path == "/o/a%FF\n%"


def test_paths_that_look_alike_have_urls_that_do_not(desk: Desk) -> None:
    for name in (b"a\xff", b"a\xfe", b"a%FF"):
        desk.plant(desk.root / "o" / os.fsdecode(name))
    done = desk.deliver(Deliver(index=0, path="/o", url=str(desk.out / "o")))
    assert [(file.path, file.url) for file in done.files] == [
        ("/o/a%FE", f"file://{desk.out}/o/a%FE"),
        ("/o/a%FF", f"{desk.out}/o/a%FF"),
        ("/o/a%FF", f"file://{desk.out}/o/a%FF"),
    ]
    for number, file in enumerate(done.files):
        assert desk.fetch(Fetch(index=0, path=f"/again{number}", url=file.url)).error is None, "it is a URL like others"


def test_folders_and_files_keep_their_modes_and_what_is_there_stays_as_it_is(desk: Desk) -> None:
    desk.plant(desk.root / "o/closed/deep/run.sh", mode=0o750)
    (desk.root / "o/empty").mkdir()
    for name, mode in (("empty", 0o2711), ("closed/deep", 0o555), ("closed", 0o700), (".", 0o750)):
        (desk.root / "o" / name).chmod(mode)
    (desk.out / "kept").mkdir(mode=0o705)
    done = desk.deliver(
        Deliver(index=0, path="/o", url=f"{desk.out}/new"), Deliver(index=1, path="/o/closed", url=f"{desk.out}/kept")
    )
    assert done.error is None

    def mode(name: str) -> int:
        return stat.S_IMODE((desk.out / name).stat().st_mode)

    assert {
        name: mode(name) for name in ("new", "new/empty", "new/closed", "new/closed/deep", "new/closed/deep/run.sh")
    } == {
        "new": 0o750,
        "new/empty": 0o711,
        "new/closed": 0o700,
        "new/closed/deep": 0o755,
        "new/closed/deep/run.sh": 0o750,
    }
    assert (mode("kept"), mode("kept/deep")) == (0o705, 0o755)
