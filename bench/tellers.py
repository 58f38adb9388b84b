"""Tell a listener of moves as fast as it takes them, each a new one. Arguments: port, path, connections, seconds, a name of this run.

Prints how many were taken in a second.
"""

import asyncio
import sys
import time
from itertools import count
from typing import cast

import uvloop

_BODY = (
    b'{"id":"%b%d","state":"COMPLETE","time":"2026-01-01T00:00:00.000Z","sequence":5,"previous_state":"RUNNING",'
    b'"attempt":1}'
)


class _Teller(asyncio.Protocol):
    """One connection: tells, hears 204, tells again."""

    def __init__(self, head: bytes, name: bytes, numbers: "count[int]", ended: asyncio.Future[None]) -> None:
        self._head, self._name, self._numbers, self._ended = head, name, numbers, ended
        self._transport: asyncio.Transport | None = None
        self.taken = 0
        self.stop = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._tell()

    def _tell(self) -> None:
        assert self._transport is not None
        body = _BODY % (self._name, next(self._numbers))
        self._transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body))

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 204"):
            raise RuntimeError(f"refused: {data!r}")
        self.taken += 1
        if self.stop:
            assert self._transport is not None
            self._transport.close()
        else:
            self._tell()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        if not self._ended.done():
            self._ended.set_result(None)


async def main(port: int, path: str, connections: int, seconds: float, name: str) -> None:
    loop, numbers = asyncio.get_running_loop(), count()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n".encode()
    began = time.perf_counter()
    tellers = []
    for _ in range(connections):
        teller = _Teller(head, name.encode(), numbers, loop.create_future())
        await loop.create_connection(lambda it=teller: it, "127.0.0.1", port)
        tellers.append(teller)
    await asyncio.sleep(seconds)
    for teller in tellers:
        teller.stop = True
    await asyncio.wait([teller._ended for teller in tellers], timeout=60)  # noqa: SLF001  its own module's
    print(sum(teller.taken for teller in tellers) / (time.perf_counter() - began))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]))
