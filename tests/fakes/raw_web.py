"""A server on loopback that answers each request with the very bytes that a test gives, whatever HTTP says of them."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator


class Raw:
    """`heads` are the requests that came, one connection each; `over` is set at the end of the block."""

    def __init__(
        self, listening: socket.socket, answers: tuple[bytes, ...], drip_seconds: float, tls: ssl.SSLContext | None
    ) -> None:
        self.heads: list[bytes] = []
        self.over = threading.Event()
        self.port: int = listening.getsockname()[1]
        self.url = f"http{'s' * bool(tls)}://127.0.0.1:{self.port}"
        self._listening = listening
        self._answers = answers
        self._drip_seconds = drip_seconds
        self._tls = tls

    def run(self) -> None:
        """Serve one after another; the last answer is that of all that come later."""
        while not self.over.is_set():
            with contextlib.suppress(OSError), self._accept() as line:
                head = b""
                while b"\r\n\r\n" not in head and (piece := line.recv(65536)):
                    head += piece
                self.heads.append(head)
                self._send(line, self._answers[min(len(self.heads), len(self._answers)) - 1])

    def _accept(self) -> socket.socket:
        line = self._listening.accept()[0]
        return self._tls.wrap_socket(line, server_side=True) if self._tls else line

    def _send(self, line: socket.socket, answer: bytes) -> None:
        if not self._drip_seconds:
            line.sendall(answer)
            return
        for byte in answer:
            line.sendall(bytes([byte]))
            if self.over.wait(self._drip_seconds):
                return


@contextlib.contextmanager
def serve(*answers: bytes, drip_seconds: float = 0, tls: ssl.SSLContext | None = None) -> Iterator[Raw]:
    """Answer request by request, and hang up after each, also on TLS without a word of it.

    `drip_seconds`: the time between two bytes.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Raw(listening, answers, drip_seconds, tls)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", server.port), 1).close()
            thread.join()
