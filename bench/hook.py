"""A listener that costs little: answers 204 to each POST, and says when each body came. Arguments: port.

`GET /` answers with a JSON object of `webhook-id` (of a bare body its `id`) and seconds since the epoch, and forgets.
"""

import asyncio
import json
import sys
import time
from typing import cast

import uvloop

_GOOD = b"HTTP/1.1 204 No Content\r\n\r\n"
_came: dict[str, float] = {}


class Hook(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            lowered = self._buffer[:head].lower()
            if lowered.startswith(b"get "):
                self._buffer = self._buffer[head + 4 :]
                said = json.dumps(_came).encode()
                _came.clear()
                self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
                continue
            at = lowered.index(b"content-length:") + 15
            ends = head + 4 + int(lowered[at:].split(b"\r", 1)[0])
            if len(self._buffer) < ends:
                return
            at = lowered.index(b"webhook-id:") + 11
            _came[lowered[at:].split(b"\r", 1)[0].strip().decode()] = time.time()
            self._buffer = self._buffer[ends:]
            self._transport.write(_GOOD)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Hook, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
