"""Inputs arrive as asked, whole, and belong to the executor; what cannot be is said in a sentence."""

import os
import stat

import pytest

from fakes.desk import DIRECTORY, FILE, Desk, tree
from fakes.web import Files, serve
from tesk.tes.task import FileType
from tesk.transfer import Fetch

NOBODY = 65534


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
