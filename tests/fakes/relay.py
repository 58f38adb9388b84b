"""A way to a real server that can be cut, closed, or held still, without the server's knowing and in nobody else's way."""

import asyncio
import contextlib


class Relay:
    """Pours what comes at `port` to `host`:`there`. `held`: nothing more is poured, connections stay open."""

    def __init__(self, host: str, there: int) -> None:
        self._there = (host, there)
        self._pairs: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._closed = False
        self.connections = 0
        self.connected = asyncio.Event()
        """Somebody has come since it was cleared."""

    @contextlib.asynccontextmanager
    async def serving(self):
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self._flows.set()
            self.cut()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._pairs:
            writer.transport.abort()

    def close(self) -> None:
        """Reset all connections, and each new one at once, until `open`."""
        self._closed = True
        self.cut()

    def open(self) -> None:
        self._closed = False

    def hold(self) -> None:
        """Let nothing through of the connections that there are, without a word; new ones are as they should be."""
        held, self._flows = self._flows, asyncio.Event()
        self._flows.set()
        held.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.connected.set()
        if self._closed:
            writer.transport.abort()
            return
        flows = self._flows
        there, back = await asyncio.open_connection(*self._there)
        self._pairs |= {writer, back}
        await asyncio.gather(self._pour(reader, back, flows), self._pour(there, writer, flows), return_exceptions=True)
        self._pairs -= {writer, back}

    async def _pour(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event) -> None:
        with contextlib.closing(writer):
            while piece := await reader.read(65536):
                await flows.wait()
                writer.write(piece)
                await writer.drain()
