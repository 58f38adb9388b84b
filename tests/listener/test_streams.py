"""Streams of a listener: who takes nothing is cut off, who was away for too long hears of a gap."""

import asyncio
import json
import socket
import time

import aiohttp
import pytest

from fakes.open_listener import moved, open_listener
from tesk.errors import EventsMissed
from tesk.listener import Remote
from tesk.listener.heard import Heard
from tesk.listener.ledger import Saying
from tesk.tes.state import State

MONTH = 31 * 86400.0
MANY = 20_000


def test_who_takes_nothing_of_a_stream_is_cut_off():
    async def main():
        async with open_listener(slow_seconds=0.2) as (listener, ask):
            sayings = [
                Saying(
                    Heard(
                        subscription="s",
                        id=f"{number:0256}",
                        state=State.RUNNING,
                        sequence=1,
                        time="now",
                        at=time.time(),
                    ),
                    None,
                )
                for number in range(MANY)
            ]
            await listener._ledger.take(sayings)
            line = socket.create_connection(("127.0.0.1", int(listener.base.rpartition(":")[2])))
            with line:
                line.settimeout(20)
                line.sendall(b"GET /events?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                for waiters in (1, 0):
                    while f"tesk_listener_waiters {waiters}\n" not in (await ask("GET", "/metrics"))[1]:
                        pass
                taken = await asyncio.to_thread(_all, line)
        assert 0 < taken.count(b"id: ") < MANY
        assert not taken.endswith(b"0\r\n\r\n")

    asyncio.run(main())


def _all(line):
    """Return what comes until the line is broken."""
    parts = []
    try:
        while part := line.recv(1 << 20):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def test_a_stream_from_a_place_that_is_not_kept_begins_with_a_gap(tmp_path):
    database = str(tmp_path / "listener.db")

    async def first(after):
        """Return the kind of the first event of a stream, and what it says."""
        async with aiohttp.ClientSession() as session, session.get(f"{base}/events", params={"after": after}) as stream:
            lines = [(await stream.content.readline()).decode().strip() for _ in range(4)]
            return lines[2:]

    async def before():
        async with open_listener(database=database) as (listener, ask):
            for sequence, state in enumerate(("QUEUED", "RUNNING", "COMPLETE"), 1):
                assert (await ask("POST", listener.url, moved("t", state, sequence)))[0] == 204
            nonlocal base
            base = listener.base
            assert await first("2") == ["id: 2", ""]
            assert await first("99") == ["event: gap", 'data: {"after":99,"oldest":1}']

    async def after():
        async with open_listener(database=database, clock=lambda: time.time() + MONTH) as (listener, _):
            nonlocal base
            base = listener.base
            async with asyncio.timeout(20):
                while await first("1") != ["event: gap", 'data: {"after":1,"oldest":4}']:
                    pass
            assert await first("3") == ["id: 3", ""]
            assert await first("0") == ["id: 0", ""]

    base = ""
    asyncio.run(before())
    asyncio.run(after())


def test_a_client_that_hears_of_a_gap_asks_for_the_ends_again_and_one_that_follows_everything_is_told():
    asked = []

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        asked.append(json.loads(await reader.readexactly(length)))
        data = b'{"id":"t","state":"COMPLETE","time":"","sequence":4,"previous_state":null,"attempt":1}'
        said = b"event: gap\ndata: {}\n\n" if len(asked) % 2 else b"event: state\ndata: %b\n\n" % data
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + said)
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server, Remote(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as remote:
            assert [told.state async for told in remote.ends(["t"])] == ["COMPLETE"]
            assert [each["after"] for each in asked] == ["0", "0"]
            with pytest.raises(EventsMissed):
                await anext(remote.moves())

    asyncio.run(main())


def test_who_follows_a_quiet_task_is_told_how_far_everything_has_come():
    async def main():
        async with (
            open_listener(heartbeat_seconds=0.05) as (listener, ask),
            aiohttp.ClientSession() as session,
            session.get(f"{listener.base}/events", params={"task": "quiet"}) as stream,
            asyncio.timeout(20),
        ):
            assert (await ask("POST", listener.url, moved("loud", "COMPLETE", 4)))[0] == 204
            while await stream.content.readline() != b"id: 1\n":
                pass

    asyncio.run(main())
