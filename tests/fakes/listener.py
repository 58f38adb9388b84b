"""A listener for callbacks over real sockets, that answers as a test tells it to, well or not at all."""

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

GOOD = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(frozen=True)
class Heard:
    """One request: its path, headers in lower case, body."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


class Listener:
    """`heard` is a queue of what came; `answer` gives the bytes for each (None: say nothing and keep the line open)."""

    def __init__(self, answer: Callable[[Heard], bytes | None]) -> None:
        self.answer = answer
        self.heard: queue.Queue[Heard] = queue.Queue()
        self.lines = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._open: list[socket.socket] = []
        self._serving = threading.Thread(target=self._serve, daemon=True)
        self._serving.start()

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
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._serving.join(10)
        self._server.close()
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
        with contextlib.suppress(OSError, ValueError), line.makefile("rb") as incoming:
            while first := incoming.readline():
                headers = {}
                while (text := incoming.readline().decode().strip()) != "":
                    name, _, value = text.partition(":")
                    headers[name.lower()] = value.strip()
                one = Heard(first.decode().split()[1], headers, incoming.read(int(headers.get("content-length", 0))))
                answer = self.answer(one)
                self.heard.put(one)
                if answer is not None:
                    line.sendall(answer)


@contextlib.contextmanager
def listening(answer: Callable[[Heard], bytes | None] = lambda _: GOOD) -> Iterator[Listener]:
    """Yield a listener, and close it with all its lines."""
    listener = Listener(answer)
    try:
        yield listener
    finally:
        listener.close()
