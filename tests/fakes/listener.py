"""A listener for callbacks over real sockets, that answers as a test tells it to, well or not at all."""

import contextlib
import io
import json
import queue
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

GOOD = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(frozen=True)
class Heard:
    """One request: its path, headers in lower case, body."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


@dataclass(frozen=True)
class Cut:
    """The end of a line after some words: in order, or with a reset."""

    words: bytes = b""
    reset: bool = False


Answer = bytes | Cut | Iterator[bytes] | None
"""An iterator's pieces are sent one by one, until the line breaks. None: say nothing and keep the line open."""


class Listener:
    """`heard` is a queue of what came; `answer` says what to do about each. Over TLS with a `context`."""

    def __init__(
        self,
        answer: Callable[[Heard], Answer],
        address: str = "127.0.0.1",
        port: int = 0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.answer = answer
        self.heard: queue.Queue[Heard] = queue.Queue()
        self.lines = 0
        self._address, self.port = address, port
        self._context = context
        self._open: list[socket.socket] = []
        self.open()
        self.url = f"http{'s' * (context is not None)}://{address}:{self.port}/hook"

    def open(self) -> None:
        """Take connections, again if it was shut."""
        self._server = socket.create_server((self._address, self.port))
        self.port = self._server.getsockname()[1]
        self._serving = threading.Thread(target=self._serve, daemon=True)
        self._serving.start()

    def shut(self) -> None:
        """Have connections refused; those that are there stay."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._serving.join(10)
        self._server.close()

    def next(self, seconds: float = 30) -> Heard:
        return self.heard.get(timeout=seconds)

    def states(self, task_id: str, last: str, seconds: float = 60) -> list[str]:
        """The states that came of a task, up to one."""
        states: list[str] = []
        while not states or states[-1] != last:
            one = self.next(seconds).json()
            if one["id"] == task_id:
                states.append(one["state"])
        return states

    def close(self) -> None:
        self.shut()
        for line in self._open:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._server.accept()
                self.lines += 1
                self._open.append(line)
                threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._context is not None:
                line = self._context.wrap_socket(line, server_side=True)
                self._open.append(line)
            with line.makefile("rb") as incoming:
                while first := incoming.readline():
                    if not self._one(first, incoming, line):
                        break
            line.close()

    def _one(self, first: bytes, incoming: io.BufferedReader, line: socket.socket) -> bool:
        """Take a request, and say whether the line may have another."""
        headers = {}
        while (text := incoming.readline().decode().strip()) != "":
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        one = Heard(first.decode().split()[1], headers, incoming.read(int(headers.get("content-length", 0))))
        answer = self.answer(one)
        self.heard.put(one)
        if isinstance(answer, Cut):
            line.sendall(answer.words)
            if answer.reset:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if isinstance(answer, bytes):
            line.sendall(answer)
        elif answer is not None:
            for piece in answer:
                line.sendall(piece)
        return True


@contextlib.contextmanager
def listening(answer: Callable[[Heard], Answer] = lambda _: GOOD, **options: Any) -> Iterator[Listener]:
    """Yield a listener, and close it with all its lines."""
    listener = Listener(answer, **options)
    try:
        yield listener
    finally:
        listener.close()
