"""A client that costs little: one request over and over on many connections, as a process of its own.

Reads a JSON object on standard input (port, connections, seconds, request as text, expect) and prints what came of it.
"""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import cast

import uvloop


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the client saw; `errors` are answers with another status than was expected."""

    requests: int
    errors: int
    seconds: float
    median_ms: float
    last_percent_ms: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def request(method: str, target: str, port: int, body: bytes = b"") -> str:
    """Return one HTTP request as text."""
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head + "\r\n" + body.decode()


def drive(port: int, what: str, *, connections: int = 64, seconds: float = 3.0, expect: int = 200) -> Load:
    """Send `what` from another process for some seconds. Raises RuntimeError where answers were not as expected."""
    order = {"port": port, "connections": connections, "seconds": seconds, "request": what, "expect": expect}
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"], input=json.dumps(order), stdout=subprocess.PIPE, text=True, check=True
    )
    load = Load(**json.loads(done.stdout))
    if load.errors or not load.requests:
        raise RuntimeError(f"{load.errors} of {load.requests + load.errors} answers to {what[:60]!r} were not {expect}")
    return load


class _Connection(asyncio.Protocol):
    """One connection: asks, reads one answer by its Content-Length, asks again until told to stop."""

    def __init__(self, what: bytes, expect: bytes, ends: asyncio.Future[None]) -> None:
        self._what = what
        self._expect = expect
        self._ends = ends
        self._buffer = b""
        self._asked = 0.0
        self._transport: asyncio.Transport | None = None
        self.stop = False
        self.times: list[float] = []
        self.errors = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._asked = time.perf_counter()
        self._transport.write(self._what)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        if head < 0 or len(buffer) < head + 4 + _length(buffer[:head]):
            self._buffer = buffer
            return
        self._buffer = b""
        if buffer[9:12] == self._expect:
            self.times.append(time.perf_counter() - self._asked)
        else:
            self.errors += 1
        assert self._transport is not None
        if self.stop:
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.stop:
            self.errors += 1
        if not self._ends.done():
            self._ends.set_result(None)


def _length(head: bytes) -> int:
    start = head.lower().index(b"content-length:") + len(b"content-length:")
    end = head.find(b"\r\n", start)
    return int(head[start : end if end >= 0 else None])


async def _run(order: dict[str, object]) -> Load:
    loop = asyncio.get_running_loop()
    what, expect = str(order["request"]).encode(), str(order["expect"]).encode()
    begun, cpu = time.perf_counter(), time.process_time()
    made = []
    for _ in range(int(str(order["connections"]))):
        ends = loop.create_future()
        connection = _Connection(what, expect, ends)
        await loop.create_connection(lambda it=connection: it, "127.0.0.1", int(str(order["port"])))
        made.append((connection, ends))
    await asyncio.wait([ends for _, ends in made], timeout=float(str(order["seconds"])))
    for connection, _ in made:
        connection.stop = True
    await asyncio.wait([ends for _, ends in made], timeout=60)
    seconds = time.perf_counter() - begun
    times = sorted(spent for connection, _ in made for spent in connection.times) or [0.0]
    return Load(
        requests=sum(len(connection.times) for connection, _ in made),
        errors=sum(connection.errors for connection, _ in made),
        seconds=seconds,
        median_ms=times[len(times) // 2] * 1000,
        last_percent_ms=times[len(times) * 99 // 100] * 1000,
        cpu_seconds=time.process_time() - cpu,
    )


if __name__ == "__main__":
    found = uvloop.run(_run(json.load(sys.stdin)))
    print(json.dumps({name: getattr(found, name) for name in Load.__slots__}))
