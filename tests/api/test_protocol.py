"""What a client may do to a connection: no more than cost the server little."""

import asyncio
import contextlib
import json
import resource
import socket
from pathlib import Path

import pytest

from fakes.process import Server
from fakes.served import connect, until

HEAD = b"GET /v1/tasks HTTP/1.1\r\nHost: localhost\r\n"


async def later(connections, seconds):
    """Look at the connections as if so much time had gone by."""
    now = asyncio.get_running_loop().time() + seconds
    for connection in [*connections]:
        connection.look(now)


def test_the_head_of_a_request_is_bounded(served):
    many = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(100))
    for more in (many, b"X: " + b"a" * 100_000, b"X:" + b" " * 100_000):
        with connect(served) as line:
            line.sendall(HEAD + more)
            assert line.recv(100).startswith(b"HTTP/1.1 431 ")
    assert served.get("/v1/tasks", X="a" * 30_000).status == 200


@pytest.mark.parametrize(
    "data",
    [b"\0\1\2\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\x16\x03\x01\x02\x00hello"],
)
def test_what_is_no_http_is_refused_as_every_bad_request_is(served, data):
    head, _, body = served.raw(data).partition(b"\r\n\r\n")
    status, *lines = head.decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert status.startswith("http/1.1 400 ")
    assert (headers["content-type"], headers["connection"]) == ("application/json", "close")
    assert int(headers["content-length"]) == len(body)
    refused = json.loads(body)
    assert refused.keys() == served.get("/v1/tasks/none").json().keys()
    assert (refused["status"], refused["status_code"]) == (400, 400)


def test_a_client_that_does_not_finish_its_request_is_cut(served):
    started = [b"", HEAD, b"\r\n", b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"]
    lines = [connect(served) for _ in started]
    for line, data in zip(lines, started, strict=True):
        line.sendall(data)
    # The one whose body is on its way is refused at once, and owes the body all the same.
    assert lines[-1].recv(100).startswith(b"HTTP/1.1 415 ")
    served.run(later(served.connections, 60))
    until(lambda: len(served.connections) == len(lines))
    served.run(later(served.connections, 100))
    for line in lines:
        with line, contextlib.suppress(ConnectionResetError):
            while line.recv(1000):
                pass


def test_who_has_sent_all_may_wait_for_the_answer(served):
    with connect(served) as line:
        line.sendall(HEAD + b"\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 200 ")
        served.run(later(served.connections, 100))
        line.sendall(HEAD + b"\r\n")
        assert line.recv(10_000)


def test_idle_connections_take_neither_all_descriptors_nor_the_place_of_who_comes_to_work(tmp_path):
    server = Server(tmp_path)
    server.start()
    with contextlib.ExitStack() as opened:
        opened.callback(server.end)
        server.wait_until_ready()
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (256, 256))
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))

        def come():
            return opened.enter_context(socket.create_connection(address, timeout=30))

        idle = [come() for _ in range(140)]
        # All came at once: the last ones are one too many.
        with contextlib.suppress(ConnectionResetError):
            assert idle[-1].recv(1) == b""

        def is_served():
            line = come()
            with contextlib.suppress(ConnectionError):
                line.sendall(HEAD + b"\r\n")
                return line.recv(100).startswith(b"HTTP/1.1 200 ")
            return False

        for _ in range(20):
            until(is_served)
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < 200
