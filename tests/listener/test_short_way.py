"""Callbacks that come one after the other on a connection: each is verified, recorded and answered as the first one was."""

import asyncio
import base64
import contextlib
import json
import time
from datetime import UTC, datetime

from standardwebhooks import Webhook

from fakes.open_listener import TOKEN, moved, open_listener
from tesk.listener import Remote

SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"


def callback(task, sequence, *, path="/webhook", signed=True, forged=False):
    body = json.dumps(moved(task, "RUNNING", sequence))
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if signed:
        now = int(time.time())
        signature = Webhook(SECRET).sign(task, datetime.fromtimestamp(now, UTC), body + " " * forged)
        lines += [f"webhook-id: {task}", f"webhook-timestamp: {now}", f"webhook-signature: {signature}"]
    return "\r\n".join([*lines, "", body]).encode()


class Line:
    def __init__(self, reader, writer):
        self._reader = reader
        self._writer = writer

    async def tell(self, *callbacks):
        """Send these at once; return the status of each answer."""
        self._writer.write(b"".join(callbacks))
        return [await self._answer() for _ in callbacks]

    async def _answer(self):
        async with asyncio.timeout(20):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = head.partition("content-length: ")[2].partition("\r\n")[0]
            if length:
                await self._reader.readexactly(int(length))
        status = int(head.split()[1])
        assert (status == 204) == (not length)
        return status


@contextlib.asynccontextmanager
async def line_to(listener):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(listener.base.rpartition(":")[2]))
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


def test_each_is_verified_and_recorded_and_a_forged_one_among_them_is_refused():
    async def main():
        async with open_listener(keys=(SECRET,)) as (listener, ask), line_to(listener) as line:
            for sequence in range(1, 6):
                assert await line.tell(callback("t", sequence)) == [204]
            assert await line.tell(callback("t", 6, forged=True)) == [401]
            assert await line.tell(callback("t", 6, signed=False)) == [401]
            assert (await listener.state("t")).sequence == 5
            assert await line.tell(callback("t", 7)) == [204]
            assert await line.tell(callback("t", 2)) == [204]
            assert (await listener.state("t")).sequence == 7
            assert 'callbacks_total{verdict="news"} 6' in (await ask("GET", "/metrics"))[1]

    asyncio.run(main())


def test_many_that_are_sent_without_waiting_are_all_answered():
    async def main():
        async with open_listener(keys=(SECRET,)) as (listener, _), line_to(listener) as line:
            assert await line.tell(callback("a", 1)) == [204]
            assert await line.tell(*(callback(f"t{number}", 1) for number in range(20))) == [204] * 20
            assert {(await listener.state(f"t{number}")).state for number in range(20)} == {"RUNNING"}

    asyncio.run(main())


def test_one_of_a_subscription_that_has_ended_is_refused_on_the_same_connection():
    async def main():
        async with open_listener(token=TOKEN) as (listener, _), Remote(listener.base, token=TOKEN) as remote:
            mine = await remote.subscribe()
            path = "/webhook/" + mine.callback_url.rpartition("/")[2]
            async with line_to(listener) as line:
                for sequence in (1, 2):
                    assert await line.tell(callback("t", sequence, path=path, signed=False)) == [204]
                await remote.unsubscribe(mine.id)
                assert await line.tell(callback("t", 3, path=path, signed=False)) == [401]

    asyncio.run(main())
