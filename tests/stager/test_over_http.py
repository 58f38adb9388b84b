"""The stager over HTTP and WebDAV: the example of the documentation, hostile servers, and no question too many."""

import os
import re
from pathlib import Path

import pytest
import yaml

from fakes import web, webdav
from fakes.desk import DIRECTORY, Desk, tree
from tesk.settings import StorageSettings
from tesk.tes.task import FileType
from tesk.transfer import Deliver, Fetch

PAGE = Path(__file__).parents[2] / "docs/storage/http.md"
ODD = ["a b", "a#b", "a?b", "a%b", "a\nb", "ä", os.fsdecode(b"\xff\xfe")]


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


def test_the_example_of_the_page_does_what_it_says(desk: Desk, there: Path) -> None:
    with web.serve(webdav.over(there)) as server:
        block = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
        task = yaml.safe_load(re.sub(r"https://\w+\.example\.org", server.url, block[1]))
        desk.plant(there / "words.txt", "three small words")
        for name in ODD:
            desk.plant(there / "run-7/reads" / name / name)
        (there / "run-7/reads/empty").mkdir()
        brought = desk.fetch(
            *(
                Fetch(index=at, path=one["path"], url=one["url"], type=one.get("type"))
                for at, one in enumerate(task["inputs"])
            )
        )
        assert brought.error is None
        assert tree(desk.root / "data/reads") == tree(there / "run-7/reads")
        assert brought.types == {0: FileType.FILE}
        desk.plant(desk.root / "data/count.txt", "3")
        for name in ODD:
            desk.plant(desk.root / "data/logs" / name / name)
        (desk.root / "data/logs/empty").mkdir()
        stored = desk.deliver(
            *(
                Deliver(index=at, path=one["path"], url=one["url"], type=one.get("type") and FileType(one["type"]))
                for at, one in enumerate(task["outputs"])
            )
        )
        assert stored.error is None
        assert tree(there / "run-7/result/logs") == tree(desk.root / "data/logs")
        assert (there / "run-7/result/count.txt").read_text() == "3"


def test_a_plain_server_is_asked_once_for_each_file(desk: Desk) -> None:
    with web.serve(files={f"/{number}": b"data" for number in range(20)}) as server:
        done = desk.fetch(
            *(Fetch(index=number, path=f"/in/{number}", url=f"{server.url}/{number}") for number in range(20))
        )
        assert (done.error, len(server.requests)) == (None, 20)
        assert server.connections <= desk.settings.connections_per_host


def test_a_host_has_no_more_connections_than_the_settings_say(desk: Desk) -> None:
    desk.settings = StorageSettings(private_addresses=True, connections_per_host=2, parallel=8)
    with web.serve(files={f"/{number}": b"x" * 300_000 for number in range(20)}) as server:
        done = desk.fetch(
            *(Fetch(index=number, path=f"/in/{number}", url=f"{server.url}/{number}") for number in range(20))
        )
        assert (done.error, server.connections) == (None, 2)


@pytest.mark.parametrize("href", ["/d/../../etc/passwd", "http://example.org/x", "/d/%2e%2e%2fx"])
def test_a_hostile_listing_leaves_the_folder_empty(href: str, desk: Desk, there: Path) -> None:
    (there / "d").mkdir()
    kind = type("Hostile", (webdav.Hostile,), {"hrefs": ("/d/good", href)})
    with web.serve(webdav.over(there, kind)) as server:
        done = desk.fetch(Fetch(index=0, path="/in", url=f"{server.url}/d/"))
    assert "the listing" in (done.error or "")
    assert (done.retry, tree(desk.root)) == (False, {})


def test_a_name_that_no_file_can_have_is_said(desk: Desk, there: Path) -> None:
    (there / "d").mkdir()
    kind = type("Hostile", (webdav.Hostile,), {"hrefs": ("/d/" + "n" * 300,), "do_GET": lambda self: self.plain(200)})
    with web.serve(webdav.over(there, kind)) as server:
        done = desk.fetch(Fetch(index=0, path="/in", url=f"{server.url}/d", type=DIRECTORY))
    assert "the name is longer than the file system takes" in (done.error or "")


def test_a_file_that_breaks_for_good_has_no_name(desk: Desk) -> None:
    desk.settings = StorageSettings(private_addresses=True, tries=1)
    with web.serve(web.BreaksInTheMiddle, {"/f": b"x" * 300_000}) as server:
        done = desk.fetch(Fetch(index=0, path="/in/f", url=f"{server.url}/f"))
    assert (done.retry, done.files) == (True, ())
    assert "the line broke after 100000 of 300000 bytes" in (done.error or "")
    assert tree(desk.root / "in") == {}
