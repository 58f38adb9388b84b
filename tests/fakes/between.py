"""A server between us and a real one: it passes everything on, and is broken in one way as often as a test says."""

import contextlib
import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Broken:
    """How one request goes wrong: `busy` is never passed on, of an answer only `cut` bytes come, or one byte is `flipped`."""

    def __init__(
        self, *, busy: bool = False, cut: int | None = None, flipped: bool = False, lost: bool = False
    ) -> None:
        self.busy = busy
        self.cut = cut
        self.flipped = flipped
        self.lost = lost
        """The request is done, but its answer never arrives."""


class Between(ThreadingHTTPServer):
    """`asked` are all requests, as method and path. `breaks` says of the next one how it goes wrong, if it does."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self, onward: str, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Pass)
        self.onward = urlsplit(onward).netloc
        self.url = f"http{'s' * bool(tls)}://127.0.0.1:{self.server_port}"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.asked: list[tuple[str, str]] = []
        self.breaks: Callable[[str, str], Broken | None] = lambda method, path: None
        self.drops: frozenset[str] = frozenset()
        """Headers that are not passed on, in lower case."""
        self.adds: dict[str, str] = {}
        """Headers that answers to GET have in place of those of the server."""
        self.lock = threading.Lock()

    def break_first(self, times: int, broken: Broken, *, method: str = "", word: str = "") -> None:
        """Break the first requests of this method and with this word in their path."""
        left = [times]

        def breaks(asked: str, path: str) -> Broken | None:
            with self.lock:
                if left[0] and asked.startswith(method) and word in path:
                    left[0] -= 1
                    return broken
                return None

        self.breaks = breaks

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news here."""


class _Pass(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Between

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._pass
        raise AttributeError(name)

    def _pass(self) -> None:
        self.server.asked.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        broken = self.server.breaks(self.command, self.path) or Broken()
        if broken.busy:
            self._answer(503, [], SLOW_DOWN, broken)
            return
        line = http.client.HTTPConnection(self.server.onward, timeout=60)
        try:
            line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"expect", "connection"} | self.server.drops:
                    line.putheader(name, value)
            line.endheaders(body)
            answer = line.getresponse()
            said = answer.read()
            self._answer(answer.status, answer.getheaders(), said, broken)
        finally:
            line.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, broken: Broken) -> None:
        if broken.lost:
            self.close_connection = True
            return
        if broken.flipped and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response_only(status)
        adds = self.server.adds if self.command == "GET" else {}
        headers = [one for one in headers if one[0].lower() not in adds] + [*adds.items()]
        for name, value in headers:
            if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        length = dict(headers).get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        if status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if broken.cut is None else body[: broken.cut])
            self.close_connection = broken.cut is not None


@contextlib.contextmanager
def between(onward: str, tls: ssl.SSLContext | None = None) -> Iterator[Between]:
    """Run one for as long as the block, in front of the server at `onward`."""
    server = Between(onward, tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
