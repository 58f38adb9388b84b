"""HTTP/1.1 as values."""

import pytest

from tesk.client.http1 import Origin, Reader, Request, render
from tesk.errors import StrangeAnswer, Unreachable

ORIGIN = Origin("tes.example.org", 8000, tls=False)


def read(data, size=None):
    reader = Reader(ORIGIN)
    for start in range(0, len(data), size or len(data)):
        reader.feed(data[start : start + (size or len(data))])
    return reader


def test_a_request_is_what_the_wire_wants():
    request = Request("POST", "/v1/tasks", (("Accept", "application/json"),), b"{}")
    assert render(ORIGIN, request) == (
        b"POST /v1/tasks HTTP/1.1\r\nHost: tes.example.org:8000\r\nAccept: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (Origin("a", 80, tls=False), "a"),
        (Origin("a", 443, tls=True), "a"),
        (Origin("a", 443, tls=False), "a:443"),
        (Origin("::1", 8000, tls=False), "[::1]:8000"),
    ],
)
def test_the_host_is_written_as_it_stands_in_an_address(origin, authority):
    assert origin.authority == authority


@pytest.mark.parametrize("size", [None, 1, 7])
def test_an_answer_is_read_whatever_pieces_it_comes_in(size):
    reader = read(
        b'HTTP/1.1 200 OK\r\nETag: "x"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n', size
    )
    assert reader.done
    assert reader.reusable
    assert (reader.response().status, reader.response().headers["etag"], reader.response().body) == (
        200,
        '"x"',
        b"abcde",
    )


def test_an_answer_that_ends_with_the_connection_is_whole():
    reader = read(b"HTTP/1.0 200 OK\r\n\r\nabc")
    assert not reader.done
    reader.feed(b"")
    assert reader.done
    assert not reader.reusable
    assert reader.response().body == b"abc"


def test_an_answer_without_a_body_ends_with_its_headers():
    reader = read(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")
    assert reader.done
    assert reader.response().status == 304


def test_an_interim_answer_is_passed_over():
    reader = read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    assert (reader.response().status, reader.response().body) == (200, b"x")


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]
)
def test_an_answer_that_breaks_off_is_none(data):
    reader = read(data) if data else Reader(ORIGIN)
    with pytest.raises(Unreachable) as caught:
        reader.feed(b"")
    assert caught.value.sent


def test_what_is_no_http_is_said_to_be_none():
    with pytest.raises(StrangeAnswer, match=r"http://tes\.example\.org:8000 does not speak"):
        read(b"SSH-2.0-OpenSSH_9.6\r\n")
