"""What servers of all ages say about files."""

import time

import pytest

from fakes import ftp_broken, ftp_old
from fakes.worlds_ftp import scheme
from tesk.errors import TransferRefused
from tesk.storage.ftp.listing import Listed, from_list, from_mlsd, read
from tesk.tes.task import FileType


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        ("-rw-r--r--   1 ftp  ftp   1803128 Jul 10 10:18 ls-lR.Z", Listed("ls-lR.Z", "file", 1803128, 0o644)),
        ("-rwxr-x---   1 500 500 5 Jan  1  2020  two  spaces ", Listed(" two  spaces ", "file", 5, 0o750)),
        ("drwxrwsr-t+  2 own er group 4096 Feb 29 2024 d", Listed("d", "folder", None, 0o775)),
        ("lrwxrwxrwx   1 ftp ftp 7 Jan 25 00:17 bin -> usr/bin", Listed("bin", "link")),
        ("-rw-r--r--   1 ftp 12 2024-05-01 12:00 iso", Listed("iso", "file", 12, 0o644)),
        ("-rw-r--r--   1 ftp ftp 12 10. März 12:00 a", Listed("a", "file", 12, 0o644)),
        ("-rw-r--r--   1 ftp ftp 12 1 Mar 2023 a", Listed("a", "file", 12, 0o644)),
        ("crw-rw-rw-   1 root root 1, 3 Jan 1 2020 null", Listed("null", "other")),
        ("01-29-97  11:32PM       <DIR>          prog", Listed("prog", "folder")),
        ("07-05-2021  10:19AM          1,234 a name.txt", Listed("a name.txt", "file", 1234)),
        ("2021-07-05  10:19            42 x", Listed("x", "file", 42)),
        ("total 12", None),
    ],
)
def test_a_line_of_a_list_is_read(line: str, listed: Listed | None) -> None:
    assert from_list(line) == listed


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        (
            "Type=file;Size=7;Modify=2020;Unique=1g2;UNIX.mode=0640;  a; b=c",
            Listed(" a; b=c", "file", 7, 0o640, "2020", "1g2"),
        ),
        ("type=dir;sizd=4096; d", Listed("d", "folder")),
        ("type=OS.unix=slink:/x; l", Listed("l", "link")),
        ("type=cdir; .", None),
        ("type=pdir; ..", None),
        ("type=OS.unix=chr-1/3; null", Listed("null", "other")),
        ("size=many; a", Listed("a", "file")),
    ],
)
def test_a_line_of_facts_is_read(line: str, listed: Listed | None) -> None:
    assert from_mlsd(line) == listed


@pytest.mark.parametrize("name", [b"../../etc/passwd", b"/etc/passwd", b"a/b", b"a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(name: bytes) -> None:
    for line, machine in ((b"type=file; " + name, True), (b"-rw-r--r-- 1 f f 1 Jan 1 2020 " + name, False)):
        with pytest.raises(TransferRefused, match="a name that no file can have"):
            list(read(line + b"\r\n", "ftp://h/", machine=machine))


def test_what_cannot_be_read_is_shown() -> None:
    with pytest.raises(TransferRefused, match="in no way that is known here: <html>"):
        list(read(b"<html>\r\n", "ftp://h/", machine=False))
    with pytest.raises(TransferRefused, match="in no way that is known here"):
        list(read(b"-rw-r--r-- 1 " + b"a " * 10_000, "ftp://h/", machine=False))


UNIX = {
    b"/": b"total 3\r\ndrwxr-xr-x 2 f f 1 Jan 1 2020 .\r\ndrwxr-xr-x 2 f f 1 Jan 1 2020 ..\r\n"
    b"drwxr-xr-x 2 f f 1 Jan 1 2020 d\r\n-rw-r--r-- 1 f f 3 Jan 1 2020 \xff b\r\n"
    b"lrwxrwxrwx 1 f f 1 Jan 1 2020 l -> d\r\nlrwxrwxrwx 1 f f 1 Jan 1 2020 m -> d/-n\r\n",
    b"/d": b"drwxr-xr-x 2 f f 1 Jan 1 2020 .\r\n-rw-r--r-- 1 f f 3 Jan 1 2020 -n\r\n",
    b"/l": b"-rw-r--r-- 1 f f 3 Jan 1 2020 -n\n",
}
DOS = {b"/": b"01-29-97  11:32PM       <DIR>          d\r\n", b"/d": b"01-29-97  11:32PM    3 -n\r\n"}


def test_a_tree_of_an_old_unix_server_is_listed() -> None:
    with ftp_old.serve(files={"/m": b"123"}) as server, scheme() as ftp:
        server.folders |= {b"/d", b"/l"}
        server.listings = UNIX
        entries = list(ftp.list(f"{server.url}/"))
        files = [entry.name for entry in entries if entry.type is FileType.FILE]
        assert files == ["m", "\udcff b", "l/-n", "d/-n"]
        assert [entry.name for entry in entries if entry.type is FileType.DIRECTORY] == ["d", "l"]


def test_a_tree_of_an_old_windows_server_is_listed() -> None:
    with ftp_old.serve() as server, scheme() as ftp:
        server.folders.add(b"/d")
        server.listings = DOS
        assert [entry.name for entry in ftp.list(f"{server.url}/")] == ["d", "d/-n"]


def test_a_link_that_leads_nowhere_is_refused() -> None:
    with ftp_old.serve() as server, scheme() as ftp:
        server.listings = {b"/": b"lrwxrwxrwx 1 f f 1 Jan 1 2020 l -> d\r\n"}
        with pytest.raises(TransferRefused, match="the link l leads nowhere"):
            list(ftp.list(f"{server.url}/"))


def test_folders_without_an_end_are_given_up() -> None:
    class Endless(dict[bytes, bytes]):
        def get(self, folder: bytes, default: bytes = b"") -> bytes:  # type: ignore[override]  # only so much of a dict
            return b"drwxr-xr-x 2 f f 1 Jan 1 2020 d\r\n"

    class All(set[bytes]):
        def __contains__(self, folder: object) -> bool:
            return True

    with ftp_old.serve() as server, scheme() as ftp:
        server.listings, server.folders = Endless(), All()
        with pytest.raises(TransferRefused, match="deeper in each other than 100"):
            list(ftp.list(f"{server.url}/"))


def test_a_line_that_was_left_in_a_folder_is_not_used_again() -> None:
    with ftp_old.serve(ftp_broken.ListsNothingBelow, {"/a": b"1", "/d/a": b"22"}) as server, scheme() as ftp:
        server.folders.add(b"/d")
        for _ in range(2):
            with pytest.raises(TransferRefused, match="550 Not for you"):
                list(ftp.list(f"{server.url}/d"))
            found = ftp.stat(f"{server.url}/a")
            assert found is not None
            assert found.size_bytes == 1


def test_the_folder_of_the_login_is_there_and_stays_the_one_that_paths_count_from() -> None:
    with ftp_old.serve(ftp_broken.StartsElsewhere, {"/home/a": b"1"}) as server, scheme() as ftp:
        server.folders.add(b"/home")
        for act in (ftp.make_directory, lambda url: list(ftp.list(url)), ftp.stat):
            act(server.url)
            found = ftp.stat(f"{server.url}/a")
            assert found is not None
            assert found.size_bytes == 1
            assert ftp.stat(f"{server.url}//a") is None


def test_a_server_without_size_is_asked_for_its_lists() -> None:
    with ftp_old.serve(ftp_broken.KnowsNoSize) as server, scheme() as ftp:
        server.folders.add(b"/d")
        server.listings = UNIX
        found = ftp.stat(f"{server.url}/d/-n")
        assert found is not None
        assert (found.type, found.size_bytes) == (FileType.FILE, 3)
        assert ftp.stat(f"{server.url}/d/other") is None
        folder = ftp.stat(f"{server.url}/d/")
        assert folder is not None
        assert folder.type is FileType.DIRECTORY


@pytest.mark.parametrize(
    "line",
    [
        "-rw-r--r-- " + " " * 2900 + "1" * 2900,
        "-rw-r--r-- " + "1 " * 2900,
        "-rw-r--r-- 1 " + "a" * 5800,
        "01-01-01 01:01 " + "1" * 5800,
    ],
)
def test_no_line_keeps_us_long(line: str) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match="1"):
        from_list(line)
    assert time.process_time() - began < 1


def test_a_folder_without_end_is_refused() -> None:
    with pytest.raises(TransferRefused, match="more than 1000000 files in one folder"):
        for _ in read(b" a\n" * 1_000_001, "ftp://h/d", machine=True):
            pass
