"""One property: whatever executors leave in their folder, nothing outside it is ever read, written or deleted."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tesk.inside import Inside, delete_folder
from tesk.settings import FileRoot, StorageSettings
from tesk.stager.job import Job, run
from tesk.stager.parallel import Stop
from tesk.tes.task import FileType
from tesk.transfer import Deliver, Fetch, TransferList

NAMES = st.sampled_from(["a", "b", "c*", ".d"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
TARGETS = st.sampled_from(
    [
        "{out}",
        "{out}/secret",
        "../outside",
        "../../outside/secret",
        "/../../outside",
        "..",
        ".",
        "/",
        "/a",
        "b/b",
        "/etc/passwd",
        "/proc/self/root",
    ]
)
ENTRIES = st.dictionaries(
    PATHS, st.one_of(st.just("file"), st.just("folder"), st.just("fifo"), TARGETS.map("link ".__add__)), max_size=8
)
PATTERNS = st.sampled_from(["/*", "/*/*", "/a/*", "/?/b", "/.*/*", "/[ab]/*/*", "/*/secret", r"/c\*/*"])
KINDS = st.sampled_from([None, FileType.FILE, FileType.DIRECTORY])


@given(
    entries=ENTRIES,
    streams=st.tuples(PATHS, PATHS, PATHS),
    inputs=st.lists(PATHS, max_size=2),
    outputs=st.lists(st.tuples(st.one_of(PATHS, PATTERNS), KINDS), max_size=3),
    deletes=st.lists(PATHS, max_size=2),
)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_outside_a_tasks_folder_is_read_written_or_deleted(
    tmp_path_factory: pytest.TempPathFactory,
    entries: dict[str, str],
    streams: tuple[str, str, str],
    inputs: list[str],
    outputs: list[tuple[str, FileType | None]],
    deletes: list[str],
) -> None:
    area = tmp_path_factory.mktemp("hostile")
    root, outside, out = area / "root", area / "outside", area / "out"
    for folder in (root, outside, out):
        folder.mkdir()
    (outside / "secret").write_text("secret")
    for path, what in sorted(entries.items(), key=lambda item: (item[0].count("/"), item[0])):
        with suppress(OSError):
            plant(root, path, what, outside)
    before = list(snapshot(outside))
    with Inside(root) as inside:
        stdin, *written = streams
        with suppress(OSError), os.fdopen(inside.open(stdin), "rb") as file:
            assert b"secret" not in file.read()
        for stream in written:
            with suppress(OSError), os.fdopen(inside.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
                file.write(b"inside")
        for path in deletes:
            with suppress(OSError):
                inside.remove_tree(path)
    transfers = TransferList(
        caller="me",
        inputs=tuple(Fetch(index=n, path=path, content="inside") for n, path in enumerate(inputs)),
        outputs=tuple(
            Deliver(index=n, path=path, path_prefix="/", url=f"{out}/{n}", type=kind)
            for n, (path, kind) in enumerate(outputs)
        ),
    )
    places = StorageSettings(file_roots=(FileRoot(path=str(out), write=True),))
    for direction in ("inputs", "outputs"):
        done = run(Job(direction=direction, transfers=transfers, root=str(root), owner=None, settings=places), Stop())
        assert done is not None
    assert all(data in {b"", b"inside"} for _, _, data in snapshot(out))
    assert not any(path.endswith("secret") for path, _, _ in snapshot(out))
    delete_folder(root)
    assert list(snapshot(outside)) == before
    assert sorted(os.listdir(area)) == ["out", "outside"]
    delete_folder(area)


def plant(root: Path, path: str, what: str, outside: Path) -> None:
    """Make one entry by its plain path, through no link."""
    place = root / path[1:]
    for above in reversed(place.parents):
        if above.is_relative_to(root) and above != root:
            if above.is_symlink():
                return
            above.mkdir(exist_ok=True)
    match what.split(" "):
        case ["file"]:
            place.write_text("inside")
        case ["folder"]:
            place.mkdir()
        case ["fifo"]:
            os.mkfifo(place)
        case [_, target]:
            os.symlink(target.format(out=outside), place)


def snapshot(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    for path in [folder, *sorted(folder.rglob("*"))]:
        yield str(path), path.lstat().st_mode, path.read_bytes() if path.is_file() else b""
