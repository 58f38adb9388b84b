"""An HTTP file server that leaves the work to the kernel, or to OpenSSL. Arguments: port, folder, for HTTPS a certificate with its key."""

import http.server
import mmap
import os
import ssl
import sys
from pathlib import Path

FOLDER = Path(sys.argv[2]).resolve()
PIECE_BYTES = 1 << 20


class _Files(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
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
            if isinstance(self.connection, ssl.SSLSocket):
                with mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as pages, memoryview(pages) as view:
                    for at in range(0, size, PIECE_BYTES):
                        self.connection.sendall(view[at : at + PIECE_BYTES])
                return
            sent = 0
            while sent < size:
                sent += os.sendfile(self.connection.fileno(), file.fileno(), sent, size - sent)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


def main() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Files)
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
