"""Outputs by PUT: whole over lines that break, nothing left where it fails in the end, folders made where they are missing."""

import os
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from fakes import web, webdav
from tesk.errors import TransferFailed, TransferRefused
from tesk.settings import HttpCredential
from tesk.storage.http import HttpScheme
from tesk.storage.patience import Patience

DATA = os.urandom(3_000_000)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        yield file.fileno()


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


def put(source: int, url: str, tries: int = 5, told: list[int] | None = None, **options: object) -> int:
    patience = Patience(tries, lambda seconds, advance: None)
    scheme = HttpScheme(**{"private": True, "patience": patience, "timeout_seconds": 5.0, **options})
    try:
        return scheme.put(source, url, (told if told is not None else []).append).size_bytes
    finally:
        scheme.close()


def methods(server: web.Web) -> list[str]:
    return [request["method"] for request in server.requests]


def test_an_upload_that_is_cut_begins_anew_until_it_is_whole(source: int, there: Path) -> None:
    told: list[int] = []
    with web.serve(webdav.over(there, webdav.CutsPuts)) as server:
        assert put(source, f"{server.url}/f", told=told) == len(DATA) == sum(told)
        assert methods(server) == ["PUT"] * 3 + ["HEAD"]
    assert (there / "f").read_bytes() == DATA
    assert min(told) < 0


def test_an_upload_that_is_cut_every_time_leaves_nothing(source: int, there: Path) -> None:
    with web.serve(webdav.over(there, webdav.AlwaysCutsPuts)) as server:
        with pytest.raises(TransferFailed, match=r"/f: .*; tried 3 times"):
            put(source, f"{server.url}/f", tries=3)
        assert methods(server) == ["PUT"] * 3 + ["DELETE"]
    assert os.listdir(there) == []


@pytest.mark.parametrize("kind", [webdav.Dav, webdav.KeepsHalves])
def test_an_upload_that_is_stopped_in_the_middle_leaves_nothing(
    kind: type[webdav.Dav], source: int, there: Path
) -> None:
    def stop(size_bytes: int) -> None:
        if size_bytes:
            raise TransferFailed("stopped")

    with web.serve(webdav.over(there, kind)) as server:
        scheme = HttpScheme(private=True)
        with pytest.raises(TransferFailed, match="stopped"):
            scheme.put(source, f"{server.url}/f", stop)
        scheme.close()
    assert not (there / "f").exists()


def test_a_server_without_room_is_said_and_what_it_kept_is_taken_away(source: int, there: Path) -> None:
    with web.serve(webdav.over(there, webdav.Full)) as server:
        with pytest.raises(TransferFailed, match="507 Insufficient Storage: it has no room left"):
            put(source, f"{server.url}/f")
        assert methods(server) == ["PUT", "DELETE"]
    assert os.listdir(there) == []


def test_a_file_that_its_server_declines_is_not_sent_and_what_lies_there_is_left(source: int, there: Path) -> None:
    (there / "f").write_bytes(b"somebody's")
    told: list[int] = []
    with web.serve(webdav.over(there, webdav.Declines)) as server:
        with pytest.raises(TransferRefused, match=r"403 Forbidden: it does not let us store this"):
            put(source, f"{server.url}/f", told=told)
        assert methods(server) == ["PUT"]
        assert server.requests[0]["Expect"] == "100-continue"
    assert (sum(told), (there / "f").read_bytes()) == (0, b"somebody's")


def test_a_server_that_says_nothing_before_gets_the_file_all_the_same(source: int, there: Path) -> None:
    with web.serve(webdav.over(there, webdav.SaysNothingBefore)) as server:
        put(source, f"{server.url}/f")
    assert (there / "f").read_bytes() == DATA


@pytest.mark.parametrize("status", [401, 403, 405])
def test_what_more_tries_cannot_mend_is_tried_once(status: int, source: int, there: Path) -> None:
    kind = type("Says", (webdav.Dav,), {"do_PUT": lambda self: (self.body(), self.plain(status))})
    with web.serve(webdav.over(there, kind)) as server:
        with pytest.raises(TransferRefused, match=str(status)):
            put(source, f"{server.url}/f")
        assert methods(server) == ["PUT"]


def test_folders_that_are_missing_are_made_once(source: int, there: Path) -> None:
    with web.serve(webdav.over(there)) as server:
        scheme = HttpScheme(private=True)
        for name in ("one", "two"):
            scheme.put(source, f"{server.url}/a/b/c/{name}", lambda size_bytes: None)
        scheme.close()
        assert methods(server) == ["PUT", *["MKCOL"] * 5, "PUT", "HEAD", "PUT", "HEAD"]
        assert server.connections == 1
    assert (there / "a/b/c/two").read_bytes() == DATA


def test_a_folder_cannot_lie_below_a_file_nor_a_file_where_a_folder_is(source: int, there: Path) -> None:
    (there / "f").write_bytes(b"")
    (there / "d").mkdir()
    with web.serve(webdav.over(there)) as server:
        for name in ("f/below", "d", "d/"):
            with pytest.raises(TransferRefused):
                put(source, f"{server.url}/{name}")


def test_a_redirect_is_followed_with_the_file_but_without_the_credentials(source: int, there: Path) -> None:
    with web.serve(webdav.over(there)) as other:
        onward = type("On", (web.Files,), {"do_PUT": lambda self: self.plain(307, Location=other.url + self.path)})
        kind = type("On", (onward,), {"do_DELETE": onward.do_PUT, "handle_expect_100": lambda self: True})
        with web.serve(kind) as server:
            known = HttpCredential(host=server.url.removeprefix("http://"), token="secret")
            put(source, f"{server.url}/f", credentials=(known,))
        assert other.requests[-1].get("Authorization") is None
    assert (there / "f").read_bytes() == DATA


def test_a_file_that_becomes_shorter_is_said(there: Path, tmp_path: Path) -> None:
    path = tmp_path / "shrinks"
    path.write_bytes(DATA)

    def shrink(size_bytes: int) -> None:
        os.truncate(path, 0)

    with web.serve(webdav.over(there)) as server, path.open("rb") as file:
        scheme = HttpScheme(private=True)
        with pytest.raises(TransferFailed, match="became shorter"):
            scheme.put(file.fileno(), f"{server.url}/f", shrink)
        scheme.close()
    assert not (there / "f").exists()


class _Forgets(webdav.Dav):
    """Keeps less than it took, and says so; the third time all of it."""

    digest = ""

    def do_HEAD(self) -> None:
        data = Path(self.folder, "f").read_bytes()
        puts = methods(self.server).count("PUT")
        size = len(data) - (not self.digest and puts < 3)
        self.plain(200, **{"Content-Length": str(size), "Repr-Digest": self.digest})


def test_what_a_server_has_of_a_large_file_is_looked_at(source: int, there: Path) -> None:
    with web.serve(webdav.over(there, _Forgets)) as server:
        put(source, f"{server.url}/f")
        assert methods(server) == ["PUT", "HEAD"] * 3
    wrong = type("Wrong", (_Forgets,), {"digest": f"sha-256=:{b64encode(bytes(32)).decode()}:"})
    with web.serve(webdav.over(there, wrong)) as server:
        with pytest.raises(
            TransferFailed, match=r"the server names sha-256 0{64} for it now, but sha-256 .* was sent;"
        ):
            put(source, f"{server.url}/f")
        assert methods(server) == ["PUT", "HEAD"] * 5 + ["DELETE"]
    right = type("Right", (_Forgets,), {"digest": f"sha-256=:{b64encode(sha256(DATA).digest()).decode()}:"})
    with web.serve(webdav.over(there, right)) as server:
        put(source, f"{server.url}/f")
        assert methods(server) == ["PUT", "HEAD"]


@pytest.mark.parametrize("status", [403, 404, 405, 500])
def test_a_server_that_shows_no_file_has_the_last_word_itself(status: int, source: int, there: Path) -> None:
    kind = type("Hides", (webdav.Dav,), {"do_HEAD": lambda self: self.plain(status)})
    with web.serve(webdav.over(there, kind)) as server:
        put(source, f"{server.url}/f")
        assert methods(server) == ["PUT", "HEAD"]


def test_folders_without_end_are_not_made(source: int, there: Path) -> None:
    kind = type("Never", (webdav.Dav,), {"do_PUT": lambda self: (self.body(), self.plain(409))})
    with web.serve(webdav.over(there, kind)) as server:
        with pytest.raises(TransferRefused, match="folders lie deeper in each other than 300"):
            put(source, f"{server.url}{'/a' * 1000}/f")
        assert methods(server) == ["PUT"]
