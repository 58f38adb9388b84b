"""Inputs arrive as asked, outputs leave as they were made, and what cannot be is said in a sentence."""

import itertools
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from fakes.web import Chunked, Files, serve
from tesk.inside import delete_folder
from tesk.settings import FileRoot, StorageSettings
from tesk.stager.job import Job, Most, run
from tesk.stager.parallel import Stop
from tesk.tes.task import FileType
from tesk.transfer import Deliver, Fetch, TransferList, TransferReport

NOBODY = 65534
FILE, DIRECTORY = FileType.FILE, FileType.DIRECTORY


class Desk:
    """A source, a task's root and a place for outputs, side by side in one folder."""

    def __init__(self, area: Path) -> None:
        self.area = area
        self.source, self.root, self.out = area / "source", area / "root", area / "out"
        for folder in (self.source, self.root, self.out):
            folder.mkdir()
        self.settings = StorageSettings(
            file_roots=(FileRoot(path=str(self.source)), FileRoot(path=str(self.out), write=True)),
            private_addresses=True,
        )
        self.owner: tuple[int, int] | None = None

    def plant(self, path: Path, data: str = "data", mode: int = 0o644) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data)
        path.chmod(mode)
        return path

    def fetch(self, *inputs: Fetch, most: Most | None = None) -> TransferReport:
        job = Job(
            direction="inputs",
            transfers=TransferList(caller="me", inputs=inputs),
            root=str(self.root),
            owner=self.owner,
            settings=self.settings,
        )
        return self.run(job, most)

    def deliver(self, *outputs: Deliver, most: Most | None = None) -> TransferReport:
        job = Job(
            direction="outputs",
            transfers=TransferList(caller="me", outputs=outputs),
            root=str(self.root),
            owner=None,
            settings=self.settings,
        )
        return self.run(job, most)

    def run(self, job: Job, most: Most | None) -> TransferReport:
        done = run(job, Stop(), most)
        assert done is not None
        return done

    def url(self, path: Path) -> str:
        return f"file://{path}"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def tree(folder: Path) -> dict[str, str | None]:
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else None for path in folder.rglob("*")}


def test_files_and_content_arrive_and_types_are_found_out(desk: Desk) -> None:
    desk.plant(desk.source / "a", "A", 0o550)
    done = desk.fetch(
        Fetch(index=0, path="/in/a", url=desk.url(desk.source / "a")),
        Fetch(index=1, path="/in/b", content="ä", url="file:///nowhere"),
        Fetch(index=2, path="/c", content=""),
        Fetch(index=3, path="/d", url=str(desk.source / "a"), type=FILE),
    )
    assert done.error is None
    assert tree(desk.root) == {"in": None, "in/a": "A", "in/b": "ä", "c": "", "d": "A"}
    assert done.types == {0: FILE, 1: FILE, 2: FILE}
    assert [(file.path, file.size_bytes) for file in done.files] == [("/c", 0), ("/d", 1), ("/in/a", 1), ("/in/b", 2)]
    assert done.size_bytes == 4
    assert stat.S_IMODE((desk.root / "in/a").stat().st_mode) == 0o750


def test_a_tree_arrives_with_empty_folders_and_modes(desk: Desk) -> None:
    desk.plant(desk.source / "t/x/run.sh", mode=0o755)
    desk.plant(desk.source / "t/y", mode=0o440)
    (desk.source / "t/empty").mkdir(mode=0o500)
    os.symlink("x", desk.source / "t/link")
    done = desk.fetch(
        Fetch(index=0, path="/in", url=desk.url(desk.source / "t")), Fetch(index=1, path="/in/more", content="m")
    )
    assert done.error is None
    assert done.types == {0: DIRECTORY, 1: FILE}
    assert tree(desk.root) == {
        "in": None, "in/x": None, "in/x/run.sh": "data", "in/y": "data", "in/empty": None,
        "in/link": None, "in/link/run.sh": "data", "in/more": "m",
    }  # fmt: skip
    modes = {name: stat.S_IMODE((desk.root / "in" / name).stat().st_mode) for name in ("x/run.sh", "y", "empty")}
    assert modes == {"x/run.sh": 0o755, "y": 0o640, "empty": 0o700}
    assert not (desk.root / "in/link").is_symlink()


def test_the_executor_owns_its_copies_and_the_source_stays_as_it_is(desk: Desk) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    desk.owner = (NOBODY, NOBODY)
    desk.plant(desk.source / "t/a", mode=0o400)
    assert desk.fetch(Fetch(index=0, path="/x/in", url=desk.url(desk.source / "t"))).error is None
    assert {path.stat().st_uid for path in (desk.root / "x").rglob("*")} == {NOBODY}
    assert (desk.root / "x").stat().st_uid == NOBODY
    (desk.root / "x/in/a").write_text("changed")
    assert (desk.source / "t/a").read_text() == "data"
    assert (desk.source / "t/a").stat().st_nlink == 1


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([("/a", "f", None), ("/a", "g", None)], "inputs 0 and 1 both want to be here"),
        ([("/a", "f", None), ("/a/b", "g", None)], "input 1 lies below /a, which input 0 makes a file"),
        ([("/a/b/c", "f", None), ("/a", "g", None)], "input 0 lies below /a, which input 1 makes a file"),
        ([("/a", "t", None), ("/a/x", "g", None)], "both want to be here"),
        ([("/a", "t", None), ("/a/x/y", "g", None)], "lies below /a/x, which input 0 makes a file"),
        ([("/a", "t/", None), ("/a/./x//", "g", None)], "both want to be here"),
        ([("/a", "t", FILE)], "is a folder, so the type of input /a must be DIRECTORY"),
        ([("/a", "f", DIRECTORY)], "is a file, so the type of input /a must be FILE"),
        ([("/a", "f/", None)], "is a file"),
        ([("/a", "nothing", None)], "nothing: there is no such file"),
        ([("/../a", "f", None)], "without '..'"),
        ([("a", "f", None)], "must be absolute"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_anything_is_done(
    desk: Desk, inputs: list[tuple[str, str, FileType | None]], words: str
) -> None:
    for name in ("f", "g", "t/x"):
        desk.plant(desk.source / name)
    done = desk.fetch(
        *(
            Fetch(index=n, path=path, url=f"{desk.source}/{name}", type=kind)
            for n, (path, name, kind) in enumerate(inputs)
        )
    )
    assert done.error is not None
    assert words in done.error
    assert not done.retry
    assert tree(desk.root) == {}


def test_http_inputs_arrive_without_a_question_first(desk: Desk) -> None:
    with serve(Files, {"/f": b"web"}) as web:
        done = desk.fetch(
            Fetch(index=0, path="/f", url=f"{web.url}/f"), Fetch(index=1, path="/g", url=f"{web.url}/f", type=FILE)
        )
        assert done.error is None
        assert done.types == {0: FILE}
        assert len(web.requests) == 2
        assert "does not list folders" in (desk.fetch(Fetch(index=0, path="/x", url=f"{web.url}/d/")).error or "")
        lost = desk.fetch(Fetch(index=0, path="/lost", url=f"{web.url}/lost"))
    assert "/lost: the server answers 404" in (lost.error or "")
    assert not lost.retry
    assert not (desk.root / "lost").exists()


def test_work_that_is_not_small_is_left_alone(desk: Desk) -> None:
    desk.plant(desk.source / "t/a", "12345")
    desk.plant(desk.source / "t/b", "12345")
    desk.plant(desk.root / "o/a", "12345")
    desk.plant(desk.root / "o/b", "12345")
    transfers = TransferList(
        caller="me",
        inputs=(Fetch(index=0, path="/in", url=f"{desk.source}/t"),),
        outputs=(Deliver(index=0, path="/o", url=f"{desk.out}/o"),),
    )
    for direction in ("inputs", "outputs"):
        job = Job(direction=direction, transfers=transfers, root=str(desk.root), owner=None, settings=desk.settings)
        assert run(job, Stop(), Most(files=1, size_bytes=100)) is None
        assert run(job, Stop(), Most(files=10, size_bytes=9)) is None
        assert tree(desk.out) == {}
        assert (desk.root / "in").exists() is (direction == "outputs")
        done = run(job, Stop(), Most(files=10, size_bytes=10))
        assert done is not None
        assert (done.error, done.size_bytes) == (None, 10)


def test_a_limit_of_files_holds(desk: Desk) -> None:
    for number in range(5):
        desk.plant(desk.source / f"t/{number}")
        desk.plant(desk.root / f"o/{number}")
    desk.settings = StorageSettings(file_roots=desk.settings.file_roots, files_limit=4)
    assert "more than 4 files" in (desk.fetch(Fetch(index=0, path="/in", url=f"{desk.source}/t")).error or "")
    for output in (
        Deliver(index=0, path="/o", url=f"{desk.out}"),
        Deliver(index=0, path="/o/*", url=f"{desk.out}", path_prefix="/"),
    ):
        assert "more than 4 files" in (desk.deliver(output).error or "")


@pytest.mark.parametrize(("limit", "all_is_well"), [(9, False), (10, True), (0, True)])
def test_a_limit_of_bytes_holds_before_anything_moves(desk: Desk, limit: int, all_is_well: bool) -> None:
    for number in range(2):
        desk.plant(desk.source / f"t/{number}", "12345")
        desk.plant(desk.root / f"o/{number}", "12345")
    roots = desk.settings.file_roots
    desk.settings = StorageSettings(file_roots=roots, input_bytes_limit=limit, output_bytes_limit=limit)
    fetched = desk.fetch(Fetch(index=0, path="/in", url=f"{desk.source}/t"))
    delivered = desk.deliver(Deliver(index=0, path="/o", url=f"{desk.out}/o"))
    if all_is_well:
        assert (fetched.error, delivered.error) == (None, None)
        return
    assert fetched.error == (
        "the inputs are 10 bytes, more than the 9 bytes that one task may bring in (setting storage.input_bytes_limit)"
    )
    assert delivered.error == (
        "the outputs are 10 bytes, more than the 9 bytes that one task may take out (setting storage.output_bytes_limit)"
    )
    assert not fetched.retry
    assert not delivered.retry
    assert not (desk.root / "in").exists()
    assert tree(desk.out) == {}


def test_a_limit_of_bytes_holds_where_no_source_says_its_size(desk: Desk) -> None:
    desk.settings = StorageSettings(file_roots=(), private_addresses=True, parallel=1, input_bytes_limit=3_500_000)
    with serve(Chunked, {"/f": b"x" * 2_000_000}) as web:
        one = desk.fetch(Fetch(index=0, path="/one", url=f"{web.url}/f"))
        assert (one.error, one.size_bytes) == (None, 2_000_000), "what came twice counts once"
        two = desk.fetch(*(Fetch(index=n, path=f"/{n}", url=f"{web.url}/f") for n in range(2)))
    assert two.error == (
        "the inputs are more than the 3.5 MB that one task may bring in (setting storage.input_bytes_limit)"
    )
    assert not two.retry
    assert sorted(os.listdir(desk.root)) == ["0", "one"]


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


def test_a_very_deep_tree_is_refused_in_a_sentence(desk: Desk) -> None:
    here = os.open(desk.root, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert "deeper in each other" in (desk.deliver(Deliver(index=0, path="/d", url=f"{desk.out}/d")).error or "")
    delete_folder(desk.root)


def test_folders_that_change_while_we_look_harm_nothing(desk: Desk) -> None:
    desk.plant(desk.area / "secret", "secret")
    desk.plant(desk.root / "o/a", "data")
    end = threading.Event()

    def swap() -> None:
        for number in itertools.count():
            if end.is_set():
                return
            os.symlink(desk.area / "secret", desk.root / f"l{number}")
            os.rename(desk.root / f"l{number}", desk.root / "o/a")
            desk.plant(desk.root / f"f{number}")
            os.rename(desk.root / f"f{number}", desk.root / "o/a")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(200):
            desk.deliver(
                Deliver(index=0, path="/o/a", url=f"{desk.out}/a"),
                Deliver(index=1, path="/o/*", url=f"{desk.out}/w", path_prefix="/"),
            )
            assert "secret" not in tree(desk.out).values()
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("direction", ["inputs", "outputs"])
def test_what_is_stopped_says_so_and_leaves_no_half_files(desk: Desk, direction: str) -> None:
    desk.plant(desk.source / "a")
    desk.plant(desk.root / "o")
    stop = Stop()
    stop.ask()
    transfers = TransferList(
        caller="me",
        inputs=(Fetch(index=0, path="/a", url=f"{desk.source}/a"),),
        outputs=(Deliver(index=0, path="/o", url=f"{desk.out}/o"),),
    )
    done = run(
        Job(direction=direction, transfers=transfers, root=str(desk.root), owner=None, settings=desk.settings), stop
    )
    assert done is not None
    assert "no longer wanted" in (done.error or "")
    assert done.retry
    assert tree(desk.out) == {}
    assert not (desk.root / "a").exists()
