"""Web servers on loopback: one that serves files as it should, with ranges, and some that are broken in one way each."""

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Web(ThreadingHTTPServer):
    """`files` by path; `requests` are the headers of every GET, in order."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(
        self, handler: type[BaseHTTPRequestHandler], files: dict[str, bytes], tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.files = files
        self.requests: list[dict[str, str]] = []
        self.connections = 0
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_port}"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def process_request(self, request: object, client_address: object) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news here."""


class Files(BaseHTTPRequestHandler):
    """What a good server does."""

    protocol_version = "HTTP/1.1"
    server: Web
    ranges = True
    tag = '"v1"'

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.answer(head=True)

    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers.items()) | {"path": self.path})
        self.answer()

    def answer(self, *, head: bool = False) -> None:
        data = self.server.files.get(self.path)
        if data is None:
            self.plain(404)
            return
        start = self.start()
        self.headed(206 if start else 200, data, start)
        if not head:
            self.wfile.write(data[start:])

    def start(self) -> int:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(wanted[1]) if wanted and self.ranges and self.headers.get("If-Range") == self.tag else 0

    def headed(self, status: int, data: bytes, start: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", self.tag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()

    def plain(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


class BreaksInTheMiddle(Files):
    """Sends a third of what is missing, then ends the connection; the fourth answer is whole."""

    def answer(self, *, head: bool = False) -> None:
        if len(self.server.requests) > 3:
            super().answer()
            return
        data, start = self.server.files[self.path], self.start()
        self.headed(206 if start else 200, data, start)
        self.wfile.write(data[start : start + (len(data) - start) // 3])
        self.close_connection = True


class BreaksWithoutRanges(BreaksInTheMiddle):
    ranges = False


class ChangesInTheMiddle(BreaksInTheMiddle):
    """Has another file, with another tag, from the second request on."""

    def answer(self, *, head: bool = False) -> None:
        if len(self.server.requests) > 1:
            self.tag = '"v2"'
            self.server.files[self.path] = self.server.files["/second"]
        super().answer()


class Resets(Files):
    """Resets the first two connections."""

    def answer(self, *, head: bool = False) -> None:
        if len(self.server.requests) < 3:
            self.reset()
        else:
            super().answer()


class Busy(Files):
    """Wants to be left alone for seven seconds, twice."""

    def answer(self, *, head: bool = False) -> None:
        if len(self.server.requests) == 1:
            self.plain(503, Retry_After="7")
        elif len(self.server.requests) == 2:
            self.plain(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")
        else:
            super().answer()


class Down(Files):
    def answer(self, *, head: bool = False) -> None:
        self.plain(500)


class LiesAboutRanges(Files):
    """Answers a range with another one, once."""

    def answer(self, *, head: bool = False) -> None:
        data = self.server.files[self.path]
        if len(self.server.requests) == 1:
            self.headed(200, data)
            self.wfile.write(data[:10])
            self.close_connection = True
        elif self.start():
            self.headed(206, data, 3)
            self.wfile.write(data[3:])
        else:
            super().answer()


class Chunked(Files):
    """Says no length; the first answer ends before its end."""

    def answer(self, *, head: bool = False) -> None:
        data = self.server.files[self.path]
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        if len(self.server.requests) > 1:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


class Says(Files):
    """Answers the status in the path, `/403`."""

    def answer(self, *, head: bool = False) -> None:
        self.plain(int(self.path[1:4]))


class Redirects(Files):
    """`/to/<url>` leads there, `/ring` to itself."""

    def answer(self, *, head: bool = False) -> None:
        if self.path.startswith("/to/"):
            self.plain(302, Location=self.path[4:])
        elif self.path == "/ring":
            self.plain(301, Location="/ring")
        else:
            super().answer()


class Silent(Files):
    """Sends the headers, and then nothing until the client goes away."""

    def answer(self, *, head: bool = False) -> None:
        self.headed(200, b"x" * 100)
        self.wfile.flush()
        self.rfile.read(1)


@contextlib.contextmanager
def serve(
    handler: type[Files] = Files, files: dict[str, bytes] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Web]:
    """Serve until the end of the block."""
    with Web(handler, dict(files or {}), tls) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield web
        finally:
            web.shutdown()
            thread.join()
