"""Requests over blocking sockets, kept open between requests. Safe from many threads."""

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable, Generator
from math import inf

from tesk.client.calls import Call, Pause, T
from tesk.client.http1 import Origin, Reader, Request, Response, render
from tesk.client.sent import Sent
from tesk.client.subscription import Subscription, Trouble
from tesk.errors import StrangeAnswer, Unreachable

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

    def follow(self, subscription: Subscription, ticks: Callable[[], float] = lambda: inf) -> Generator[Sent | None]:
        """Yield the events of a stream as they come; None each time it begins, and when `ticks()` seconds brought none.

        Raises what `Subscription.broke` raises.
        """
        while True:
            trouble: Trouble | None
            try:
                with contextlib.closing(self._listen(subscription)) as line:
                    yield None
                    heard = time.monotonic()
                    while (data := line.read(min(ticks(), subscription.silence_seconds))) is not None:
                        if data:
                            heard = time.monotonic()
                            yield from subscription.heard(data)
                        elif time.monotonic() - heard >= subscription.silence_seconds:
                            raise subscription.silent()
                        else:
                            yield None
                    trouble = subscription.ended(line.response())
            except (Unreachable, StrangeAnswer) as error:
                trouble = error
            if trouble is None:
                return
            again = time.monotonic() + subscription.broke(trouble)
            while (left := again - time.monotonic()) > 0:
                time.sleep(min(left, max(0.01, ticks())))
                yield None

    def _listen(self, subscription: Subscription) -> "_Line":
        connection = self._connect()
        with contextlib.ExitStack() as unless_good:
            unless_good.callback(connection.close)
            line = _Line(self._origin, connection)
            try:
                line.ask(subscription.request(), subscription.silence_seconds)
            except TimeoutError as error:
                raise subscription.silent() from error
            unless_good.pop_all()
        return line

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
            # What can be read of an idle one is its end. Not by `select`, which knows no file beyond number 1023.
            readable = select.poll()
            readable.register(connection, select.POLLIN)
            if not readable.poll(0):
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


class _Line:
    """An answer that is read while it comes, on a connection of its own."""

    def __init__(self, origin: Origin, connection: socket.socket) -> None:
        self._origin = origin
        self._connection = connection
        self._pieces: list[bytes] = []
        self._reader = Reader(origin, self._pieces.append)

    def ask(self, request: Request, seconds: float) -> None:
        """Return when the head of the answer is there. Raises Unreachable, StrangeAnswer; TimeoutError after a silence."""
        self._connection.settimeout(seconds)
        try:
            self._connection.sendall(render(self._origin, request))
        except OSError as error:
            raise Unreachable(f"{self._origin} broke the connection: {error}", sent=True) from error
        while not (self._reader.begun or self._reader.done):
            self._read(seconds)

    def read(self, seconds: float) -> bytes | None:
        """Return what has come, b"" where nothing did for so long, None at the end. Raises Unreachable, StrangeAnswer."""
        try:
            while not (self._pieces or self._reader.done):
                self._read(max(0.001, seconds))
        except TimeoutError:
            return b""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data or None

    def response(self) -> Response:
        """Return the answer without what was read of it."""
        return self._reader.response()

    def close(self) -> None:
        self._connection.close()

    def _read(self, seconds: float) -> None:
        self._connection.settimeout(seconds)
        try:
            data = self._connection.recv(65536)
        except TimeoutError:
            raise
        except OSError as error:
            raise Unreachable(f"{self._origin} broke the connection: {error}", sent=True) from error
        self._reader.feed(data)
