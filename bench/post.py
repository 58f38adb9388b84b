"""Post signed callbacks, each once, on many connections. Arguments: port, how many.

Prints how many a second were answered 204. Requests are made before the clock starts.
"""

import asyncio
import base64
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import cast

import uvloop

from tesk.callbacks.message import request
from tesk.http.target import parse
from tesk.settings import CallbackKey
from tesk.signature import Keys
from tesk.store.outbox import Pending
from tesk.tes.ids import Ids
from tesk.tes.state import State

KEY = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
CONNECTIONS = 64


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], ended: asyncio.Future[None]) -> None:
        self._requests = requests
        self._ended = ended
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._buffer.endswith(b"\r\n\r\n"):
            return
        if not self._buffer.startswith(b"HTTP/1.1 204"):
            self._ended.set_exception(RuntimeError(f"no 204: {self._buffer!r}"))
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_exception(exc or RuntimeError("the connection was closed"))

    def _next(self) -> None:
        try:
            self._transport.write(next(self._requests))
        except StopIteration:
            if not self._ended.done():
                self._ended.set_result(None)
            self._transport.close()


def _requests(port: int, many: int) -> list[bytes]:
    ids, keys, now = Ids(), Keys([CallbackKey(secret=KEY)]), time.time()
    target = parse(f"http://127.0.0.1:{port}/webhook")
    move = Pending(sequence=1, previous_state=None, state=State.QUEUED, attempt=0, time=now, tries=0)
    return [request(target, ids.make(now), move, user="u", keys=keys, timestamp=int(now)) for _ in range(many)]


async def main(port: int, many: int) -> float:
    requests = iter(_requests(port, many))
    loop = asyncio.get_running_loop()
    ends = [loop.create_future() for _ in range(CONNECTIONS)]
    begun = time.perf_counter()
    for ended in ends:
        await loop.create_connection(partial(_Connection, requests, ended), "127.0.0.1", port)
    await asyncio.gather(*ends)
    return many / (time.perf_counter() - begun)


if __name__ == "__main__":
    print(uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]))))
