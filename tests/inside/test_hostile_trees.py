"""Whatever tree was planted and whatever is done to it, what lies outside stays as it was and unread."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.folders import read, write
from tesk.inside import Inside, delete_folder

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
