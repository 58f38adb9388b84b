"""A server that answers with anything at all: whatever it is, the client says so by an error of its own."""

import asyncio

import pytest

from tesk.client import AsyncClient
from tesk.client.patience import Patience
from tesk.errors import ClientError, RequestError

MOST = 100_000


def ok(body):
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nmore",
        b"HTTP/1.1 429 No\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n" % (b"9" * 5000),
        b"HTTP/1.1 404 No\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n" + b"[" * 60_000,
        ok(b"[" * 60_000),
        ok(b'{"a":' * 15_000),
        ok(b'{"id":"t","state":' + b"9" * 5000 + b"}"),
        ok(b'{"id":5,"state":"RUNNING"}'),
        ok(b"[]"),
        ok(b"\xff\xfe"),
        ok(b""),
        ok(b'{"id":"t","state":"COMPLETE","more":"' + b"x" * MOST + b'"}'),
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 50_000 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 999 \xff\xff\r\n\r\n",
        b"SSH-2.0-nothing of HTTP\r\n",
        b"",
    ],
    ids=range(17),
)  # fmt: skip
def test_an_answer_that_is_none_is_an_error_of_the_client(answer):
    said = asyncio.Queue()

    async def say(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.write_eof()
            await reader.read()
        except OSError:
            pass  # it had heard enough
        finally:
            writer.close()
            said.put_nowait(None)

    async def main():
        server = await asyncio.start_server(say, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        patience = Patience(busy=0.0, gone=0.0)
        async with server, asyncio.timeout(20):
            async with AsyncClient(url, patience=patience, answer_most_bytes=MOST) as client:
                with pytest.raises((ClientError, RequestError)):
                    await client.get("t")
            await said.get()

    asyncio.run(main())
