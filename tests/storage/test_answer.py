"""Answers of HTTP as they come over a connection, also in odd pieces, and what is no answer."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tesk.storage.answer import Answer
from tesk.storage.patience import Again
from tesk.storage.site import place_of

PLACE = place_of("http://example.org/x")
HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def said(data: bytes, *, method: str = "GET", step: int = 1 << 20, hang_up: bool = True) -> Iterator[Answer]:
    """An answer over a real connection that brings `step` bytes at a time."""
    ours, theirs = socket.socketpair()
    ours.settimeout(5)

    def speak() -> None:
        for at in range(0, len(data), step):
            theirs.send(data[at : at + step])
        if hang_up:
            theirs.shutdown(socket.SHUT_WR)

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        yield Answer(ours, method, PLACE)
    finally:
        speaker.join()
        ours.close()
        theirs.close()


@pytest.mark.parametrize("step", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("head", "body", "clean"),
    [
        (b"Content-Length: 5\r\n\r\nhello", b"hello", True),
        (b"content-length:5\r\nConnection: Close\r\n\r\nhello", b"hello", False),
        (b"Content-Length: 5, 5\r\n\r\nhello", b"hello", True),
        (b"Content-Length: 0\r\n\r\n", b"", True),
        (b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n", b"hello", True),
        (b"\r\nhello", b"hello", False),
    ],
)
def test_a_body_is_read_to_its_end(head: bytes, body: bytes, clean: bool, step: int) -> None:
    with said(HEAD + head, step=step) as answer:
        answer.begin()
        assert (answer.status, answer.reason) == (200, "OK")
        assert answer.read_at_most(100) == body
        assert answer.isclosed()
        assert answer.clean is clean
    with said(HEAD + head, step=step) as answer:
        answer.begin()
        buffer = memoryview(bytearray(100))
        assert answer.readinto(buffer) == len(body)
        assert buffer[: len(body)] == body
        assert answer.readinto(buffer) == 0


def test_answers_without_a_body_end_with_their_head() -> None:
    for status, method in ((b"204 No Content", "PUT"), (b"304 Not Modified", "GET"), (b"200 OK", "HEAD")):
        with said(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n", method=method, hang_up=False) as answer:
            answer.begin()
            assert answer.read1() == b""
            assert answer.clean


def test_what_says_that_more_comes_is_passed_over() -> None:
    with said(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD + b"\r\n") as answer:
        assert answer.goes_on()
        answer.begin()
        assert (answer.status, answer.header("Link")) == (200, "")
    with said(HEAD + b"\r\n") as answer:
        assert not answer.goes_on()


def test_headers_are_found_by_any_case_and_joined() -> None:
    with said(HEAD + b'ETag: "x"\r\nA: 1\r\na: 2\r\nLong: one\r\n\ttwo\r\nContent-Length: 0\r\n\r\n') as answer:
        answer.begin()
        assert [answer.header(name) for name in ("etag", "A", "long", "none")] == ['"x"', "1, 2", "one two", ""]


def test_what_comes_behind_the_end_ends_the_connection() -> None:
    with said(HEAD + b"Content-Length: 2\r\n\r\nok" + HEAD) as answer:
        answer.begin()
        assert answer.read_at_most(10) == b"ok"
        assert not answer.clean


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 2",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        HEAD + b"no header\r\n\r\n",
        HEAD + b"Content-Length : 3\r\n\r\nabc",
        HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        HEAD + b"Content-Length: -3\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        HEAD + b"X: " + b"x" * 200_000,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        HEAD + b"Content-Length: 5\r\n\r\nab",
    ],
)
def test_what_is_no_answer_may_be_one_the_next_time(data: bytes) -> None:
    with said(data) as answer, pytest.raises(Again):  # noqa: PT012  both may find it
        answer.begin()
        answer.read_at_most(100)
