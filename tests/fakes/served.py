"""The real application over a real socket and a real SQLite store, in a thread of the test's own process."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time

import uvloop
from msgspec.structs import replace

from tesk.api.app import create_app
from tesk.http.serve import Http
from tesk.settings import Settings
from tesk.store.connect import store_at
from tesk.telemetry.metrics import Metrics


class Answer:
    """One answer: `status`, `headers` in lower case, `body`, and `json()`."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Served:
    """A server that answers. `store` and `connections` are to be used through `run` only: they live in the server's loop."""

    def __init__(self, port, loop, store, closing, state):
        self.port = port
        self.connections = state.connections
        self.state = state
        self.store = store
        self.closing = closing
        self._loop = loop

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def run(self, coroutine):
        """Run something in the server's loop, and return what came of it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def close_down(self):
        """Tell the server that it ends."""
        self.closing.set()

    def ask(self, method, target, body=None, headers=None, *, timeout=30):
        """Send one request. A body that is no bytes goes as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes | str):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())

    def get(self, target, **headers):
        return self.ask("GET", target, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def raw(self, data, *, timeout=30):
        """Send bytes as they are; return all that comes until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as line:
            line.sendall(data)
            return b"".join(iter(lambda: line.recv(65536), b""))


@contextlib.contextmanager
def serve(
    folder,
    settings=None,
    *,
    alive=lambda: True,
    wrap=lambda store: store,
    host="127.0.0.1",
    port=0,
    live=None,
    check=None,
    subscribe=None,
):
    """Serve a store in `folder` until the block ends. `wrap` may put something between application and store."""
    settings = settings or Settings()
    listening = socket.create_server((host, port))
    port = listening.getsockname()[1]
    settings = replace(settings, server=replace(settings.server, port=port))
    metrics = Metrics()
    began, ready = threading.Event(), []

    async def main():
        store = store_at(str(folder / "tesk.db"), committed=metrics.committed)
        await store.open()
        closing = asyncio.Event()
        app = create_app(
            wrap(store),
            settings,
            alive=alive,
            parameters=("time_limit_seconds",),
            backend="none",
            public_storage=(),
            live=live,
            check=check,
            subscribe=subscribe,
            metrics=metrics,
            closing=closing,
        )
        server = Http(app)
        ready.extend((asyncio.get_running_loop(), store, closing, server))
        serving = asyncio.create_task(server.serve([listening]))
        accepting = asyncio.create_task(server.accepting.wait())
        await asyncio.wait((serving, accepting), return_when=asyncio.FIRST_COMPLETED)
        accepting.cancel()
        began.set()
        await serving
        await store.close()

    thread = threading.Thread(target=uvloop.run, args=(main(),))
    thread.start()
    try:
        assert began.wait(30)
        loop, store, closing, server = ready
        yield Served(port, loop, store, closing, server.server_state)
        loop.call_soon_threadsafe(closing.set)
        server.should_exit = True
    finally:
        if ready:
            ready[3].should_exit = True
        thread.join(30)
        listening.close()


def until(true, seconds=20):
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.002)


async def never():
    """Wait for nothing."""
    await asyncio.Event().wait()


def connect(served):
    """Return a connection to a server."""
    return socket.create_connection(("127.0.0.1", served.port), timeout=30)
