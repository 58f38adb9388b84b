"""Folders of WebDAV servers, also of those that lie about what is in them."""

from pathlib import Path

import pytest

from fakes import web, webdav
from tesk.errors import TransferRefused
from tesk.storage.http import HttpScheme
from tesk.storage.patience import Patience
from tesk.storage.webdav import read
from tesk.tes.task import FileType

BOMB = (
    '<!DOCTYPE m [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;">]>'
)
OUTSIDE = '<!DOCTYPE m [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


def test_a_listing_of_what_is_nothing_fills_no_memory() -> None:
    many = b'<multistatus xmlns="DAV:">' + b"<response/>" * 250_001
    with pytest.raises(TransferRefused, match="more than 250000 things"):
        read([many])


def listed(url: str) -> list[str]:
    scheme = HttpScheme(private=True, patience=Patience(1))
    try:
        return [entry.name for entry in scheme.list(url)]
    finally:
        scheme.close()


def hostile(folder: Path, *hrefs: str, before: str = "") -> type[webdav.Dav]:
    return webdav.over(folder, type("Hostile", (webdav.Hostile,), {"hrefs": hrefs, "before": before}))


@pytest.mark.parametrize(
    ("href", "said"),
    [
        ("../../etc/passwd", "does not lie in this folder"),
        ("/../../etc/passwd", "does not lie in this folder"),
        ("/d/../../etc/passwd", "no file in this folder can have"),
        ("/d/%2e%2e/%2e%2e/etc/passwd", "no file in this folder can have"),
        ("/d/..", "no file in this folder can have"),
        ("/d/%2E", "no file in this folder can have"),
        ("/d/a%2Fb", "no file in this folder can have"),
        ("/d/a%00b", "no file in this folder can have"),
        ("/d/a/b", "no file in this folder can have"),
        ("/other/a", "does not lie in this folder"),
        ("/dd", "does not lie in this folder"),
        ("http://example.org/d/a", "leads to another host"),
        ("//example.org/d/a", "leads to another host"),
        ("http://127.0.0.1:1@example.org/d/a", "leads to another host"),
        ("http://[::1/d/a", "leads to another host"),
        ("file:///etc/passwd", "does not lie in this folder"),
        ("", "does not lie in this folder"),
    ],
)
def test_a_listing_that_leads_out_of_its_folder_is_refused(href: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with web.serve(hostile(tmp_path, href)) as server, pytest.raises(TransferRefused, match=rf"/d/: .*{said}"):
        listed(f"{server.url}/d/")


def test_a_name_is_taken_from_any_way_to_write_it(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    names = ("/d/ä", "/d/%C3%B6", "http://127.0.0.1/d/a", "/d/b?x#y", "/d/c%0Ad", "/d/" + "n" * 300)
    with web.serve(hostile(tmp_path, *names)) as server:
        assert set(listed(f"{server.url}/d")) == {"ä", "ö", "a", "b", "c\nd", "n" * 300}


@pytest.mark.parametrize("before", [BOMB, OUTSIDE, "<!DOCTYPE m>"])
def test_a_document_type_is_refused(before: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with web.serve(hostile(tmp_path, before=before)) as server, pytest.raises(TransferRefused, match="document type"):
        listed(f"{server.url}/d/")


def test_folders_without_an_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    kind = type("Endless", (webdav.Endless,), {"name": "again" * 50})
    with (
        web.serve(webdav.over(tmp_path, kind)) as server,
        pytest.raises(TransferRefused, match="deeper in each other than a path can say"),
    ):
        listed(f"{server.url}/d/")


def test_a_listing_has_a_longest_length() -> None:
    def pieces():
        yield b'<D:multistatus xmlns:D="DAV:">'
        while True:
            yield b"<!--%b-->" % (b"a" * 1_000_000)

    with pytest.raises(TransferRefused, match="longer than 64 MiB"):
        read(pieces())
    with pytest.raises(TransferRefused, match="no end"):
        read([b'<D:multistatus xmlns:D="DAV:"><D:response><D:href>', *([b"a" * 10_000] * 2)])


@pytest.mark.parametrize("document", [b"", b"<html><body>Index of /", b"no XML"])
def test_what_is_no_listing_is_refused(document: bytes) -> None:
    with pytest.raises(TransferRefused, match="no XML"):
        read([document])


def test_parts_of_a_listing_count_by_their_status() -> None:
    document = b"""<m xmlns="DAV:"><response><href>/a</href>
        <propstat><prop><getcontentlength>5</getcontentlength></prop><status>HTTP/1.1 200 OK</status></propstat>
        <propstat><prop><resourcetype><collection/></resourcetype></prop><status>HTTP/1.1 404 Not Found</status></propstat>
        </response><response><href>/b</href><status>HTTP/1.1 403 Forbidden</status></response></m>"""
    assert read([document]) == [("/a", False, 5, 200), ("/b", False, None, 403)]


def test_a_folder_of_a_plain_server_is_kindly_refused() -> None:
    with (
        web.serve(files={"/d/": b"<html>"}) as server,
        pytest.raises(TransferRefused, match=r"/d/: the server does not list folders .* input of its own"),
    ):
        listed(f"{server.url}/d/")


def test_stat_tells_folders_from_files_also_where_a_name_does_not(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_bytes(b"12")
    with web.serve(webdav.over(tmp_path)) as server:
        scheme = HttpScheme(private=True)
        found = {name: scheme.stat(f"{server.url}/{name}") for name in ("d", "d/", "f", "none")}
        scheme.close()
    assert {name: entry and (entry.type, entry.size_bytes) for name, entry in found.items()} == {
        "d": (FileType.DIRECTORY, None),
        "d/": (FileType.DIRECTORY, None),
        "f": (FileType.FILE, 2),
        "none": None,
    }
