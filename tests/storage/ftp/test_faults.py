"""FTP servers that break: what comes is whole or nothing, and the words help."""

import os
import tempfile
from collections.abc import Iterator

import pytest

from fakes import ftp_broken, ftp_old
from fakes.worlds_ftp import scheme
from tesk.errors import TransferFailed, TransferRefused

DATA = os.urandom(3_000_000)


@pytest.fixture
def target() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


@pytest.fixture
def source() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(b"data")
        file.flush()
        yield file.fileno()


def nothing(size_bytes: int) -> None:
    """An Advance that lets everything pass."""


def content(target: int) -> bytes:
    return os.pread(target, 1 << 26, 0)


@pytest.mark.parametrize("handler", [ftp_broken.CutsEarly, ftp_broken.Cuts, ftp_broken.CutsLate])
def test_a_line_that_is_cut_is_resumed(handler: type[ftp_old.Old], target: int) -> None:
    with ftp_old.serve(handler, {"/a": DATA}) as server, scheme(tries=5) as ftp:
        told: list[int] = []
        assert ftp.get(f"{server.url}/a", target, told.append).size_bytes == len(DATA) == sum(told)
        assert content(target) == DATA
        assert sum(line.startswith("REST") for line in server.commands) == 3


@pytest.mark.parametrize("handler", [ftp_broken.CutsAndBeginsAnew, ftp_broken.Forgets, ftp_broken.NeverOpens])
def test_what_cannot_go_on_begins_anew(handler: type[ftp_old.Old], target: int) -> None:
    with ftp_old.serve(handler, {"/a": DATA}) as server, scheme(tries=9, timeout_seconds=0.5) as ftp:
        told: list[int] = []
        assert ftp.get(f"{server.url}/a", target, told.append).size_bytes == len(DATA) == sum(told)
        assert content(target) == DATA


def test_two_versions_of_a_file_are_never_mixed(target: int) -> None:
    second = os.urandom(len(DATA))
    with ftp_old.serve(ftp_broken.CutsAndChanges, {"/a": DATA, "/second": second}) as server, scheme(tries=5) as ftp:
        ftp.get(f"{server.url}/a", target, nothing)
        assert content(target) == second


def test_a_server_that_stalls_is_given_up(target: int) -> None:
    with (
        ftp_old.serve(ftp_broken.Stalls, {"/a": DATA}) as server,
        scheme(tries=2, timeout_seconds=0.2) as ftp,
        pytest.raises(TransferFailed, match=r"/a: the server is silent; tried 2 times"),
    ):
        ftp.get(f"{server.url}/a", target, nothing)


def test_a_missing_last_word_does_not_matter_when_all_is_here(target: int) -> None:
    with ftp_old.serve(ftp_broken.HasNoLastWord, {"/a": DATA}) as server, scheme(timeout_seconds=0.3) as ftp:
        assert ftp.get(f"{server.url}/a", target, nothing).size_bytes == len(DATA)


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (ftp_broken.SendsLess, "2999999 of 3000000 bytes"),
        (ftp_broken.SendsMore, r"3000000 bytes expected, 30\d* got"),
    ],
)
def test_too_little_and_too_much_are_told(handler: type[ftp_old.Old], words: str, target: int) -> None:
    with (
        ftp_old.serve(handler, {"/a": DATA}) as server,
        scheme(tries=2) as ftp,
        pytest.raises(TransferFailed, match=words),
    ):
        ftp.get(f"{server.url}/a", target, nothing)


@pytest.mark.parametrize("handler", [ftp_broken.IsFull, ftp_broken.IsFullFor530])
def test_a_server_with_too_many_guests_is_asked_again(handler: type[ftp_old.Old], target: int) -> None:
    with ftp_old.serve(handler, {"/a": b"1"}) as server, scheme(tries=4) as ftp:
        assert ftp.get(f"{server.url}/a", target, nothing).size_bytes == 1


def test_who_is_not_let_in_is_told_the_setting_and_not_the_password(target: int) -> None:
    with ftp_old.serve(ftp_broken.LetsNobodyIn, {"/a": b"1"}) as server, scheme(tries=4) as ftp:
        with pytest.raises(TransferRefused, match=r"530 Login incorrect.*storage\.ftp") as told:
            ftp.get(f"{server.url}/a".replace("//", "//bob:hidden@"), target, nothing)
        assert "hidden" not in str(told.value)
        assert sum(line.startswith("PASS") for line in server.commands) == 1


def test_a_file_of_which_less_is_kept_is_stored_again(source: int) -> None:
    with ftp_old.serve(ftp_broken.KeepsLess) as server, scheme(tries=3) as ftp:
        told: list[int] = []
        assert ftp.put(source, f"{server.url}/x", told.append).size_bytes == 4 == sum(told)
        assert server.files == {b"/x": b"data"}


@pytest.mark.parametrize("handler", [ftp_broken.HasNoRoom, ftp_broken.HasNoRoomInTheMiddle])
def test_a_server_without_room_keeps_no_half_file(handler: type[ftp_old.Old], source: int) -> None:
    os.truncate(source, 50_000 if handler is ftp_broken.HasNoRoom else 50_000_000)
    with ftp_old.serve(handler) as server, scheme(tries=3) as ftp:
        with pytest.raises(TransferRefused, match="552 Disk quota exceeded: no room is left there"):
            ftp.put(source, f"{server.url}/x", nothing)
        assert server.files == {}


def test_a_file_is_replaced_where_no_rename_may_do_it(source: int) -> None:
    with ftp_old.serve(ftp_broken.RenamesOntoNothing, {"/x": b"old"}) as server, scheme() as ftp:
        ftp.put(source, f"{server.url}/x", nothing)
        assert server.files == {b"/x": b"data"}


def test_a_file_that_may_not_be_replaced_stays_as_it_was(source: int) -> None:
    with ftp_old.serve(ftp_broken.KeepsNames, {"/x": b"old"}) as server, scheme(tries=2) as ftp:
        with pytest.raises(TransferRefused, match="550 Not allowed"):
            ftp.put(source, f"{server.url}/x", nothing)
        assert server.files == {b"/x": b"old"}


def test_a_file_that_cannot_be_replaced_for_now_stays_as_it_was(source: int) -> None:
    with ftp_old.serve(ftp_broken.IsBusyAtTheEnd, {"/x": b"old"}) as server, scheme(tries=2) as ftp:
        with pytest.raises(TransferFailed, match="450 Busy"):
            ftp.put(source, f"{server.url}/x", nothing)
        assert server.files == {b"/x": b"old"}


@pytest.mark.parametrize("handler", [ftp_old.Old, ftp_broken.KnowsEpsvOnly])
def test_data_comes_from_the_server_itself_whatever_address_it_names(handler: type[ftp_old.Old], target: int) -> None:
    with ftp_old.serve(handler, {"/a": b"1"}) as server, scheme() as ftp:
        assert ftp.get(f"{server.url}/a", target, nothing).size_bytes == 1


@pytest.mark.parametrize("url", ["/a%0D%0ADELE%20b", "/a%0Ab", "/a%00b"])
def test_no_name_becomes_a_command(url: str, source: int) -> None:
    with ftp_old.serve() as server, scheme() as ftp:
        with pytest.raises(TransferRefused, match="cannot name a file with a line break"):
            ftp.put(source, server.url + url, nothing)
        with pytest.raises(TransferRefused, match="cannot name"):
            ftp.stat(server.url.replace("//", "//a%0d%0aDELE%20b:c@") + "/x")
        assert server.commands == []


@pytest.mark.parametrize("mark", ["?", "#"])
def test_a_bare_mark_in_a_url_is_refused_with_how_to_write_it(mark: str, target: int) -> None:
    with scheme() as ftp, pytest.raises(TransferRefused, match=f"in a name it is %{ord(mark):02X}"):
        ftp.get(f"ftp://h/a{mark}b", target, nothing)
