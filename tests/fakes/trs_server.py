"""A small GA4GH TRS 2 server on loopback: the images of versions of tools."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class Trs(ThreadingHTTPServer):
    """`versions` by (tool, version) as they are told; `token` is wanted where it is set; `busy` times it answers 503 first."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.path = path
        self.versions: dict[tuple[str, str], dict[str, Any]] = {}
        self.token = ""
        self.busy = 0
        self.requests: list[str] = []
        self.authority = f"127.0.0.1:{self.server_port}"
        self.url = f"trs://{self.authority}"

    def add(self, tool: str, version: str, *images: dict[str, Any]) -> None:
        self.versions[tool, version] = {"id": version, "url": "", "images": list(images)}


class Handler(BaseHTTPRequestHandler):
    server: Trs

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        parts = [unquote(part) for part in self.path.removeprefix(f"{self.server.path}/tools/").split("/")]
        document = self.server.versions.get((parts[0], parts[-1])) if parts[1:2] == ["versions"] else None
        if self.server.busy:
            self.server.busy -= 1
            self.say(503, {})
        elif self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.say(401, {})
        elif document is None:
            self.say(404, {"code": 404, "message": "no such tool"})
        else:
            self.say(200, document)

    def say(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def serve(path: str = "/ga4gh/trs/v2") -> Iterator[Trs]:
    """Serve until the end of the block."""
    with Trs(path) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
