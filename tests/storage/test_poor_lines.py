"""Downloads from servers and over lines with every fault that we could think of: whole, or a sentence that says what is wrong."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import poor_web, web
from tesk.errors import TransferFailed, TransferRefused
from tesk.storage.http import HttpScheme
from tesk.storage.patience import Patience

DATA = os.urandom(300_000)
LARGE = os.urandom(1 << 20) * 100


@pytest.fixture
def target() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


class Fetcher:
    """A scheme whose waits are written down in place of being slept, and what it told of bytes."""

    def __init__(self, tries: int = 5, timeout_seconds: float = 5.0, **options: object) -> None:
        self.waits: list[float] = []
        self.told: list[int] = []
        self.patience = Patience(tries, lambda seconds, advance: self.waits.append(seconds))
        self.scheme = HttpScheme(private=True, patience=self.patience, timeout_seconds=timeout_seconds, **options)

    def get(self, url: str, target: int) -> bytes:
        try:
            arrived = self.scheme.get(url, target, self.told.append)
        finally:
            self.scheme.close()
        assert arrived.size_bytes == os.fstat(target).st_size == sum(self.told)
        return os.pread(target, 1 << 28, 0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_line_that_is_cut_is_taken_up_again(share: float, target: int) -> None:
    with web.serve(poor_web.cuts_at(share), {"/f": DATA}) as server:
        fetcher = Fetcher()
        assert fetcher.get(f"{server.url}/f", target) == DATA
        assert len(server.requests) == 3 == len(fetcher.waits) + 1
        assert server.requests[1]["Range"] == f"bytes={int(len(DATA) * share)}-"


def test_too_little_every_time_is_named_with_how_much_came(target: int) -> None:
    kind = type("Cuts", (poor_web.cuts_at(0.5),), {"start": lambda self: 0})
    said = "the line broke after 150000 of 300000 bytes; tried 2 times"
    with web.serve(kind, {"/f": DATA}) as server, pytest.raises(TransferFailed, match=said):
        Fetcher(tries=2).get(f"{server.url}/f", target)


def test_too_much_is_neither_stored_nor_taken_for_the_next_answer(target: int) -> None:
    with web.serve(poor_web.TooMuch, {"/f": DATA, "/g": b"good"}) as server:
        scheme = HttpScheme(private=True)
        for name, data in (("/f", DATA), ("/g", b"good")):
            os.ftruncate(target, 0)
            assert scheme.get(server.url + name, target, lambda size_bytes: None).size_bytes == len(data)
            assert os.pread(target, 1 << 20, 0) == data
        scheme.close()
        assert server.connections == 2


@pytest.mark.parametrize(
    ("field", "algorithm"),
    [
        ("Repr-Digest", "sha-256"),
        ("Repr-Digest", "sha-512"),
        ("Digest", "sha-256"),
        ("Content-Digest", "sha-256"),
        ("Content-MD5", "md5"),
    ],
)
def test_a_checksum_is_verified_and_a_wrong_one_is_tried_again(field: str, algorithm: str, target: int) -> None:
    with web.serve(poor_web.sums(field, algorithm, wrong=1), {"/f": DATA}) as server:
        assert Fetcher().get(f"{server.url}/f", target) == DATA
        assert len(server.requests) == 2


def test_a_checksum_that_is_never_right_says_expected_and_got(target: int) -> None:
    kind = poor_web.sums("Content-MD5", "md5", wrong=9)
    said = r"/f: the server names md5 \w{32} for it, but sent md5 \w{32}; tried 3"
    with web.serve(kind, {"/f": DATA}) as server, pytest.raises(TransferFailed, match=said):
        Fetcher(tries=3).get(f"{server.url}/f", target)


def test_a_server_that_is_busy_three_times_is_asked_a_fourth_time(target: int) -> None:
    with web.serve(poor_web.answers(503, 503, 503), {"/f": DATA}) as server:
        fetcher = Fetcher()
        assert fetcher.get(f"{server.url}/f", target) == DATA
        assert len(fetcher.waits) == 3


def test_a_server_that_says_when_to_come_back_is_left_alone_until_then(target: int) -> None:
    with web.serve(poor_web.answers(429, Retry_After="11"), {"/f": DATA}) as server:
        fetcher = Fetcher()
        assert fetcher.get(f"{server.url}/f", target) == DATA
        assert 11 <= fetcher.waits[0] <= 12


def test_a_line_that_stalls_in_the_middle_is_taken_up_again(target: int) -> None:
    with web.serve(poor_web.stalls(1), {"/f": DATA}) as server:
        assert Fetcher(timeout_seconds=0.1).get(f"{server.url}/f", target) == DATA
        assert server.requests[1]["Range"] == "bytes=100000-"


def test_a_wait_ends_when_the_transfer_is_no_longer_wanted(target: int) -> None:
    def stop(size_bytes: int) -> None:
        raise TransferFailed("stopped")

    with web.serve(poor_web.answers(503, Retry_After="299")) as server:
        scheme = HttpScheme(private=True)
        with pytest.raises(TransferFailed, match="stopped"):
            scheme.get(f"{server.url}/f", target, stop)
        scheme.close()


def test_a_disk_that_fills_in_the_middle_is_said_at_once(tmp_path: Path) -> None:
    small = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(tmp_path)]
    if subprocess.run(small, check=False, capture_output=True).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        with web.serve(files={"/f": DATA}) as server, tempfile.TemporaryFile(dir=tmp_path) as file:
            fetcher = Fetcher()
            with pytest.raises(TransferFailed, match="the disk is full here"):
                fetcher.get(f"{server.url}/f", file.fileno())
            assert fetcher.waits == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_large_file_comes_in_parts_over_a_slow_line(target: int) -> None:
    with web.serve(poor_web.slow(poor_web.Slow, LARGE)) as server:
        assert Fetcher().get(f"{server.url}/f", target) == LARGE
        assert 1 < server.connections <= 8
        assert {request.get("If-Range") for request in server.requests} == {None, '"v0"'}


def test_a_large_file_comes_by_one_connection_where_no_more_may_be(target: int) -> None:
    with web.serve(poor_web.slow(type("Slow", (poor_web.Slow,), {"bytes_per_second": 90 << 20}), LARGE)) as server:
        assert Fetcher(connections_per_host=1).get(f"{server.url}/f", target) == LARGE
        assert server.connections == 1


def test_parts_that_break_are_brought_by_others(target: int) -> None:
    with web.serve(poor_web.slow(poor_web.SlowAndBroken, LARGE)) as server:
        assert Fetcher().get(f"{server.url}/f", target) == LARGE


def test_parts_of_two_versions_are_never_mixed(target: int) -> None:
    second = os.urandom(1 << 20) * 90
    with web.serve(poor_web.slow(poor_web.SlowAndChanging, LARGE, second)) as server:
        assert Fetcher().get(f"{server.url}/f", target) == second


def test_parts_stop_together(target: int) -> None:
    told = 0

    def stop(size_bytes: int) -> None:
        nonlocal told
        told += size_bytes
        if told > len(LARGE) // 2:
            raise TransferFailed("stopped")

    with web.serve(poor_web.slow(poor_web.Slow, LARGE)) as server:
        scheme = HttpScheme(private=True)
        with pytest.raises(TransferFailed, match="stopped"):
            scheme.get(f"{server.url}/f", target, stop)
        scheme.close()
        assert told < len(LARGE)


def test_no_folder_is_brought_in_as_a_file(target: int) -> None:
    with web.serve() as server, pytest.raises(TransferRefused, match="404"):
        Fetcher().get(f"{server.url}/folder/", target)
