"""Web servers that mean us harm, or do not know what they do: each comes to an end, in words, and nothing half is taken for whole."""

import contextlib
import os
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import raw_web
from fakes.worlds_web import certificate
from tesk.errors import TransferError, TransferFailed, TransferRefused
from tesk.storage.http import HttpScheme
from tesk.storage.patience import Patience
from tesk.storage.url import heard, shown

OK = b"HTTP/1.1 200 OK\r\n"
PART = b"HTTP/1.1 206 Partial Content\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HALF = OK + b'ETag: "v1"\r\nContent-Length: 10\r\n\r\n01234'


@pytest.fixture
def target() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


@contextlib.contextmanager
def scheme(
    *, timeout_seconds: float = 5, tries: int = 2, context: ssl.SSLContext | None = None
) -> Iterator[HttpScheme]:
    patience = Patience(tries, wait=lambda seconds, advance: None)
    http = HttpScheme(private=True, patience=patience, timeout_seconds=timeout_seconds, context=context)
    with contextlib.closing(http):
        yield http


def get(url: str, target: int, **options: object) -> bytes:
    with scheme(**options) as http:
        size = http.get(url, target, lambda size_bytes: None).size_bytes
    assert os.fstat(target).st_size == size
    return os.pread(target, 1 << 20, 0)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        OK + b"Content-Length: " + b"9" * 19 + b"\r\n\r\nabc",
        PART + b"Content-Range: bytes 0-1/" + b"9" * 5000 + b"\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 302 Found\r\nLocation: http://[evil\r\nContent-Length: 0\r\n\r\n",
        OK + b"Content-MD5: \xc0\xc0\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 302 Found\r\nLocation: //[\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://a..b/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000,
        OK + CHUNKED + b"\r\n0\r\n" + b"A: b\r\n" * 100_000,
    ],
    ids=["length", "large", "range", "bracket", "sum", "relative", "labels", "continue", "trailers"],
)
def test_no_answer_of_a_server_is_a_fault_of_ours(answer: bytes, target: int) -> None:
    with raw_web.serve(answer) as server, scheme() as http:
        with pytest.raises(TransferError, match=r"^http://.*: "):
            http.get(f"{server.url}/f", target, lambda size_bytes: None)
        with pytest.raises(TransferError, match=r"^http://.*: "):
            http.stream(f"{server.url}/f", lambda data: None)


def test_a_listing_whose_statuses_have_no_end_is_refused() -> None:
    body = b'<multistatus xmlns="DAV:"><response><href>/d/</href><status>HTTP/1.1 %s</status></response></multistatus>'
    body %= b"2" * 5000
    with (
        raw_web.serve(b"HTTP/1.1 207 Multi\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as server,
        scheme() as http,
        pytest.raises(TransferRefused),
    ):
        list(http.list(f"{server.url}/d/"))


def test_a_head_with_a_length_that_is_none_is_no_fault_of_ours() -> None:
    no_webdav = b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n"
    with (
        raw_web.serve(no_webdav, OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n") as server,
        scheme() as http,
        pytest.raises(TransferFailed, match=r"does not speak HTTP|the line broke"),
    ):
        http.stat(f"{server.url}/f")


def test_a_part_that_ends_early_in_chunks_is_not_taken_for_all(target: int) -> None:
    part = PART + b'ETag: "v1"\r\nContent-Range: bytes 5-9/10\r\n' + CHUNKED + b"\r\n2\r\n56\r\n0\r\n\r\n"
    rest = PART + b'ETag: "v1"\r\nContent-Range: bytes 7-9/10\r\n' + CHUNKED + b"\r\n3\r\n789\r\n0\r\n\r\n"
    with raw_web.serve(HALF, part, rest) as server:
        assert get(f"{server.url}/f", target, tries=5) == b"0123456789"
        assert [b"bytes=%d-" % at in head for at, head in zip((5, 7), server.heads[1:], strict=True)] == [True, True]


def test_a_part_that_is_longer_than_was_asked_for_adds_nothing(target: int) -> None:
    part = PART + b'ETag: "v1"\r\nContent-Range: bytes 5-9/10\r\n' + CHUNKED + b"\r\n9\r\n56789evil\r\n0\r\n\r\n"
    with raw_web.serve(HALF, part) as server:
        assert get(f"{server.url}/f", target) == b"0123456789"


def test_a_part_of_a_whole_that_nobody_knows_is_read_to_its_end(target: int) -> None:
    data = os.urandom(256 * 1024)  # what is taken from a line at once
    first = OK + b'ETag: "v1"\r\n' + CHUNKED + b"\r\n%x\r\n%s\r\n" % (len(data), data)
    part = PART + b'ETag: "v1"\r\nContent-Range: bytes %d-%d/*\r\n' % (len(data), len(data) + 4)
    with raw_web.serve(first, part + CHUNKED + b"\r\n5\r\n56789\r\n0\r\n\r\n") as server:
        assert get(f"{server.url}/f", target, tries=3) == data + b"56789"


def test_an_end_that_anybody_between_could_make_is_none(target: int, tmp_path: Path) -> None:
    served, trusting = certificate(tmp_path)
    with raw_web.serve(OK + b"\r\nhalf", tls=served) as server, pytest.raises(TransferFailed, match="the line broke"):
        get(f"{server.url}/f", target, context=trusting)
    with raw_web.serve(OK + b"Content-Length: 5\r\nConnection: close\r\n\r\nwhole", tls=served) as server:
        assert get(f"{server.url}/f", target, context=trusting) == b"whole"


def test_a_part_that_nobody_asked_for_is_not_streamed_as_the_whole() -> None:
    given = bytearray()
    with (
        raw_web.serve(PART + b"Content-Range: bytes 0-4/10\r\nContent-Length: 5\r\n\r\n01234") as server,
        scheme() as http,
        pytest.raises(TransferFailed),
    ):
        http.stream(f"{server.url}/f", given.extend)


@pytest.mark.parametrize(
    "answer",
    [OK + b"X: " + b"x" * 60_000, OK + b"Content-Length: 60000\r\n\r\n" + b"x" * 60_000],
    ids=["head", "body"],
)
def test_who_sends_a_byte_now_and_then_is_as_good_as_silent(answer: bytes, target: int) -> None:
    with (
        raw_web.serve(answer, drip_seconds=0.02) as server,
        pytest.raises(TransferFailed, match="slower than 100 bytes a second"),
    ):
        get(f"{server.url}/f", target, timeout_seconds=0.3)


@pytest.mark.parametrize("field", [b"Repr-Digest", b"Digest", b"Content-Digest"])
def test_no_checksum_in_a_header_keeps_us_long(field: bytes, target: int) -> None:
    began = time.process_time()
    with raw_web.serve(OK + field + b": " + b"a" * 60_000 + b"\r\nContent-Length: 2\r\n\r\nok") as server:
        assert get(f"{server.url}/f", target) == b"ok"
    assert time.process_time() - began < 1


def test_what_a_server_says_is_one_short_line_without_control_characters(target: int) -> None:
    with (
        raw_web.serve(b"HTTP/1.1 404 \x1b[2J\x07" + b"no " * 2000 + b"\r\nContent-Length: 0\r\n\r\n") as server,
        pytest.raises(TransferRefused) as told,
    ):
        get(f"{server.url}/f", target)
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 500


@pytest.mark.parametrize(
    "url",
    [
        "https://ann:hidden@example.org/x",
        "https://ann:hid/hidden@example.org/x",
        "https://ann:hid#hidden@example.org/x",
        "ftp://ann:hid?hidden@example.org/x",
        "https:ann:hidden@example.org/x",
        "https:/ann:hidden@example.org/x",
        "https://example.org/x?sig=hidden",
        "crypt4gh+https://ann:hidden@example.org/x?sig=hidden",
        "crypt4gh+data:,hidden",
        "az://account/container/x?sv=2024&sig=hidden&se=1",
        "s3://bucket/x?X-Amz-Signature=hidden",
        "s3://bucket/x?X-Amz-Security-Token=hidden",
        "s3://ann:hidden@bucket/x",
        "drs://ann:hidden@example.org/x",
        "data:text/plain,hidden",
    ],
)
def test_no_url_is_shown_with_its_secrets(url: str) -> None:
    assert "hidden" not in shown(url)
    assert shown(url).startswith(url.partition(":")[0])


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org:8443/a@b/x:y#z",
        "https://[::1]:80/x",
        "drs://dg.4503:abc/x",
        "abfss://container@account.dfs.core.windows.net/a?b",
        "s3://bucket/a?b=c#d",
        "file:///a@b/?sig=c",
        "/a@b/x?y",
    ],
)
def test_what_is_no_secret_is_shown(url: str) -> None:
    assert shown(url) == url


def test_a_name_is_shown_without_what_a_terminal_obeys() -> None:
    assert shown("/a\x1b[2Jb\nc\x9b") == "/a\\x1b[2Jb\\nc\\x9b"
    assert heard("one\r\ntwo\x1b[2J\udcff" + "x" * 999)[:14] == "one two[2J%FFx"
