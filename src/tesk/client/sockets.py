"""Requests over blocking sockets, kept open between requests. Safe from many threads."""

import select
import socket
import ssl
import time

from tesk.client.calls import Call, Pause, T
from tesk.client.http1 import Origin, Reader, Request, Response, render
from tesk.errors import Unreachable

CONNECT_SECONDS = 10.0


class Sockets:
    """Connections to one server."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None = None) -> None:
        self._origin = origin
        self._tls = (tls or ssl.create_default_context()) if origin.tls else None
        self._idle: list[socket.socket] = []

    def drive(self, call: Call[T]) -> T:
        """Run a call to its end."""
        try:
            step = next(call)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = call.send(None)
                    continue
                try:
                    answer = self.send(step)
                except Unreachable as error:
                    step = call.throw(error)
                else:
                    step = call.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value

    def send(self, request: Request) -> Response:
        """Return the answer to one request. Raises Unreachable, StrangeAnswer."""
        connection = self._take() or self._connect()
        reader = Reader(self._origin, request.heard)
        try:
            connection.settimeout(request.timeout_seconds)
            connection.sendall(render(self._origin, request))
            while not reader.done:
                reader.feed(connection.recv(65536))
        except OSError as error:
            said = "did not answer in time" if isinstance(error, TimeoutError) else f"broke the connection: {error}"
            raise Unreachable(f"{self._origin} {said}", sent=True) from error
        finally:
            if reader.reusable:
                self._idle.append(connection)
            else:
                connection.close()
        return reader.response()

    def close(self) -> None:
        """Close what is open."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> socket.socket | None:
        """Return an idle connection that the server has not closed."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if not select.select([connection], [], [], 0)[0]:
                return connection
            connection.close()

    def _connect(self) -> socket.socket:
        origin = self._origin
        try:
            plain = socket.create_connection((origin.host, origin.port), CONNECT_SECONDS)
        except OSError as error:
            raise Unreachable(f"no connection to {origin}: {error}", sent=False) from error
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return plain
        try:
            return self._tls.wrap_socket(plain, server_hostname=origin.host)
        except OSError as error:
            plain.close()
            raise Unreachable(f"no TLS connection to {origin}: {error}", sent=False) from error
