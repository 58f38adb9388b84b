"""Transfers end: at the limits of the settings, in trees that have no end or change, and when nobody wants them."""

import itertools
import os
import threading
from collections.abc import Iterator

import pytest

from fakes.desk import Desk, tree
from fakes.web import Chunked, serve
from tesk.errors import TransferRefused
from tesk.inside import delete_folder
from tesk.settings import StorageSettings
from tesk.stager.inputs import survey
from tesk.stager.job import Job, Most, run
from tesk.stager.parallel import Stop
from tesk.storage.scheme import Entry
from tesk.tes.task import FileType
from tesk.transfer import Deliver, Fetch, TransferList


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


def test_a_very_deep_tree_is_refused_in_a_sentence(desk: Desk) -> None:
    try:
        here = os.open(desk.root, os.O_RDONLY)
        for _ in range(3000):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        assert "deeper in each other" in (desk.deliver(Deliver(index=0, path="/d", url=f"{desk.out}/d")).error or "")
        assert tree(desk.out) == {}
    finally:
        # pytest removes what earlier runs left, and would find no end of it.
        delete_folder(desk.root)
        delete_folder(desk.out)


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


class Liar:
    """A source whose folder lists one name that it made up. Its own schemes, too."""

    has_folders = True

    def __init__(self, name: str) -> None:
        self._name = name

    def of(self, url: str) -> "Liar":
        return self

    def stat(self, url: str) -> Entry:
        return Entry(url=url, name="", type=FileType.DIRECTORY)

    def list(self, url: str) -> Iterator[Entry]:
        yield Entry(url=f"{url}/x", name=self._name, type=FileType.FILE, size_bytes=1)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", ".", "", "a//b", "a/", "a\0"])
def test_a_listing_that_leads_out_of_its_folder_is_refused_before_anything_is_done(name: str) -> None:
    with pytest.raises(TransferRefused, match="which is no name of anything that lies in it"):
        survey([Fetch(index=0, path="/in", url="liar://x")], Liar(name), limit=10, threads=1, stop=Stop())


class Endless(Liar):
    """A source whose folders have no end."""

    def __init__(self) -> None:
        super().__init__("")
        self.listed = 0

    def list(self, url: str) -> Iterator[Entry]:
        while True:
            self.listed += 1
            yield Entry(url=f"{url}/{self.listed}", name=f"{self.listed}", type=FileType.FILE, size_bytes=1)


def test_no_more_is_listed_for_all_inputs_together_than_may_be_moved() -> None:
    source = Endless()
    inputs = [Fetch(index=index, path=f"/in{index}", url=f"liar://{index}") for index in range(50)]
    with pytest.raises(TransferRefused, match="the inputs are more than 100 files"):
        survey(inputs, source, limit=100, threads=2, stop=Stop())
    assert source.listed < 200


def test_a_name_that_is_too_long_for_the_disk_is_said(desk: Desk) -> None:
    done = desk.fetch(Fetch(index=0, path=f"/in/{'x' * 300}", content="x"))
    assert "the name is longer than the file system takes" in (done.error or "")
    assert not done.retry
    assert tree(desk.root) == {"in": None}
