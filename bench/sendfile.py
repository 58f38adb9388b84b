"""An HTTP file server that leaves the work to the kernel. Arguments: port, folder, seconds that each answer takes (as over a line)."""

import http.server
import os
import sys
import time
from pathlib import Path

FOLDER = Path(sys.argv[2]).resolve()
WAIT_SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0


class _Files(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if WAIT_SECONDS:
            time.sleep(WAIT_SECONDS)
        path = FOLDER / self.path.strip("/")
        size = path.stat().st_size if path.is_file() else 0
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.flush()
        if not body or not size:
            return
        with path.open("rb") as file:
            sent = 0
            while sent < size:
                sent += os.sendfile(self.connection.fileno(), file.fileno(), sent, size - sent)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Files).serve_forever()
