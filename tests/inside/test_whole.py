"""A file is there whole or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tesk.inside import Inside, whole_file


@pytest.fixture(params=["unnamed", "beside"])
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Give a folder on a file system that has files without names, or has none."""
    if request.param == "beside":
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # EISDIR, as from a kernel that has none
    folder = os.open(tmp_path, os.O_RDONLY)
    yield folder
    os.close(folder)


def test_a_file_has_its_name_when_it_is_whole(folder: int, tmp_path: Path) -> None:
    with whole_file(folder, "a", 0o640, beside=".part") as file:
        os.write(file, b"data")
        assert not (tmp_path / "a").exists()
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"data"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_what_fails_leaves_nothing_and_the_old_file_as_it_was(folder: int, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")

    def fail(name: str) -> None:
        with whole_file(folder, name, 0o666, beside=".part") as file:
            os.write(file, b"half")
            raise ZeroDivisionError

    for name in ("old", "new"):
        with pytest.raises(ZeroDivisionError):
            fail(name)
    assert os.listdir(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "old"


def test_what_is_there_is_replaced_a_link_itself_but_no_folder(folder: int, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("target")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / ".part").write_text("left by one who was killed")
    for name in ("target", "link"):
        with whole_file(folder, name, 0o666, beside=".part", durable=True) as file:
            os.write(file, name.encode())
    assert not (tmp_path / "link").is_symlink()
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.name != ".part"} == {
        "target": "target",
        "link": "link",
    }
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), whole_file(folder, "folder", 0o666, beside=".part"):
        pass
    assert (tmp_path / "folder").is_dir()
    assert not (tmp_path / ".part").exists()


def test_a_new_file_of_a_tasks_folder_is_named_inside_it(inside: Inside, root: Path) -> None:
    inside.make_folders("/a")
    os.symlink("/a", root / "in")
    os.symlink(root.parent / "secret", root / "a/b")
    with inside.new_file("/in/b") as file:
        os.write(file, b"new")
    assert (root / "a/b").read_bytes() == b"new"
    assert not (root / "a/b").is_symlink()
    assert (root.parent / "secret").read_text() == "secret"
    with pytest.raises(FileNotFoundError), inside.new_file("/nowhere/b"):
        pass
