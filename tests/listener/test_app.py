"""A listener inside the test's own program, asked over real sockets: who may tell, who may read, who is woken."""

import asyncio
import base64
import contextlib
import json
import socket
import time
from datetime import UTC, datetime

import aiohttp
import pytest
from standardwebhooks import Webhook

from fakes.open_listener import TOKEN, moved, open_listener
from fakes.tes_server import FakeTes
from tesk.errors import NotFound, SettingsError, Unauthenticated
from tesk.listener import Listener, Remote, Unheard
from tesk.settings import ListenerSettings

SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"


def test_who_waits_in_the_program_or_by_http_is_told_of_the_end():
    async def main():
        async with open_listener() as (listener, ask):
            waits = [asyncio.create_task(listener.ended("t")), asyncio.create_task(ask("GET", "/tasks/t?wait=30"))]
            for sequence, state in enumerate(("QUEUED", "RUNNING", "COMPLETE"), 1):
                assert (await ask("POST", listener.url, moved("t", state, sequence)))[0] == 204
                if state == "QUEUED":
                    changes = asyncio.create_task(ask("GET", "/tasks/t?wait=30&state=QUEUED"))
                elif state == "RUNNING":
                    assert (await changes)[1]["state"] == "RUNNING"
            assert (await waits[0]).state == "COMPLETE"
            assert (await waits[1])[1]["state"] == "COMPLETE"

    asyncio.run(main())


def test_what_nobody_vouches_for_is_refused_with_a_sentence():
    async def main():
        async with open_listener() as (_, ask):
            status, said = await ask("POST", "/webhook", moved("t", "COMPLETE", 1))
            assert (status, "listener.keys" in said["detail"], "POST /subscriptions" in said["detail"]) == (
                401,
                True,
                True,
            )
            assert (await ask("POST", "/webhook/none", moved("t", "COMPLETE", 1)))[0] == 401
            assert (await ask("GET", "/tasks/t"))[1]["state"] == "UNKNOWN"

    asyncio.run(main())


def test_a_signature_vouches_for_a_callback_and_a_forged_or_old_one_does_not():
    async def main():
        async with open_listener(keys=(SECRET,)) as (_, ask):
            body = json.dumps(moved("t", "COMPLETE", 2))
            now = int(time.time())

            def signed(stamp, text):
                signature = Webhook(SECRET).sign("t.2", datetime.fromtimestamp(stamp, UTC), text)
                return {"webhook-id": "t.2", "webhook-timestamp": str(stamp), "webhook-signature": signature}

            assert (await ask("POST", "/webhook", body.encode(), **signed(now, body + " ")))[0] == 401
            for stamp in (now - 3600, now + 3600):
                assert (await ask("POST", "/webhook", body.encode(), **signed(stamp, body)))[0] == 401
            for _ in range(2):  # the same again is no news, and no error
                assert (await ask("POST", "/webhook", body.encode(), **signed(now, body)))[0] == 204
            metrics = (await ask("GET", "/metrics"))[1]
            assert 'callbacks_total{verdict="news"} 1' in metrics
            assert 'callbacks_total{verdict="duplicate"} 1' in metrics

    asyncio.run(main())


def test_a_subscription_reads_its_own_tasks_and_no_others():
    async def main():
        async with open_listener(token=TOKEN) as (listener, ask):
            async with Remote(listener.base, token=TOKEN) as remote:
                mine, other = await remote.subscribe(), await remote.subscribe()
            assert (await ask("POST", mine.callback_url, moved("t", "COMPLETE", 2)))[0] == 204
            assert (await ask("GET", "/tasks/t"))[0] == 401
            assert (await ask("GET", "/tasks/t", Authorization="Bearer nothing-of-the-kind-is-known"))[0] == 401
            # The token in the path lets nobody read.
            path_token = mine.callback_url.rpartition("/")[2]
            assert (await ask("GET", "/tasks/t", Authorization=f"Bearer {path_token}"))[0] == 401
            assert (await ask("POST", f"/webhook/{mine.token}", moved("t", "COMPLETE", 2)))[0] == 401
            async with Remote(listener.base, token=mine.token) as remote:
                assert (await remote.state("t")).state == "COMPLETE"
                assert [told.id async for told in remote.ends(["t"])] == ["t"]
            async with Remote(listener.base, token=other.token) as remote:
                assert (await remote.state("t")).state == "UNKNOWN"
                with pytest.raises(NotFound):
                    await remote.unsubscribe(mine.id)
            async with Remote(listener.base, token=TOKEN) as remote:
                assert (await remote.state("t")).state == "COMPLETE"
                await remote.unsubscribe(mine.id)
            assert (await ask("POST", mine.callback_url, moved("t", "COMPLETE", 2)))[0] == 401
            async with Remote(listener.base, token=mine.token) as remote:
                with pytest.raises(Unauthenticated):
                    await remote.state("t")

    asyncio.run(main())


def test_from_a_server_that_counts_nothing_ends_are_believed_and_it_is_asked_for_the_rest():
    async def main(server):
        settings = ListenerSettings(port=0)
        async with Listener(server=server.url, settings=settings) as listener, aiohttp.ClientSession() as session:
            async with session.post(listener.url, json=moved("task-1", "QUEUED")) as answer:
                assert answer.status == 204
            moves = listener.moves()
            assert (await asyncio.wait_for(anext(moves), 30)).state == "RUNNING"
            await moves.aclose()
            async with session.post(listener.url, json=moved("task-1", "COMPLETE")) as answer:
                assert answer.status == 204
            assert (await listener.ended("task-1", timeout_seconds=30)).state == "COMPLETE"

    with FakeTes(states=["RUNNING"]).serving() as server:
        server.add({"executors": [{"command": ["a"]}], "_states": ["RUNNING"]})
        asyncio.run(main(server))


def test_who_follows_gets_each_move_once_and_in_order_over_a_break():
    async def main():
        async with open_listener(heartbeat_seconds=0.2) as (listener, ask), aiohttp.ClientSession() as session:
            heard, last = [], "0"
            for part in range(3):
                async with session.post(listener.base + "/events", json={"after": last}) as stream:
                    for sequence in range(part * 50 + 1, part * 50 + 51):
                        assert (await ask("POST", listener.url, moved("t", "RUNNING", sequence)))[0] == 204
                    async for line in stream.content:
                        name, _, value = line.decode().strip().partition(": ")
                        if name == "data":
                            heard.append(json.loads(value)["sequence"])
                        elif name == "id":
                            last = value
                        if len(heard) >= part * 50 + 25:
                            break
            assert heard == list(range(1, len(heard) + 1))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/tasks/t", {"Origin": "https://evil.example"}, 403),
        ("/tasks/t", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("/tasks/t", {"Host": "evil.example"}, 403),
        ("/tasks/t", {"Host": "localhost:8010"}, 200),
        ("/tasks/t?wait=x", {}, 400),
        ("/tasks/t?weight=1", {}, 400),
        ("/events?after=x", {}, 400),
        ("/nothing", {}, 404),
        ("/subscriptions", {}, 405),
        ("/tasks/" + "x" * 300, {}, 400),
    ],
)
def test_what_is_not_served_is_refused_as_all_errors_are(path, headers, status):
    async def main():
        async with open_listener() as (_, ask):
            got, said = await ask("GET", path, **{name.replace("-", "_"): value for name, value in headers.items()})
            assert (got, said.get("status", 200)) == (status, status)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x" * 70_000, 413),
        (b"", 400),
        (b"[]", 400),
        (b'{"id": "", "state": "RUNNING"}', 400),
        (b'{"id": "t", "state": "RUNNING", "sequence": -1}', 400),
        (b'{"id": "t\\u0000", "state": "RUNNING"}', 400),
        (b"\xff", 400),
        (b'{"id": "t", "state": "WHATEVER", "sequence": 1, "more": 1}', 204),
    ],
)
def test_a_body_that_is_no_callback_is_refused_and_one_that_says_more_is_taken(body, status):
    async def main():
        async with open_listener() as (listener, ask):
            assert (await ask("POST", listener.url, body))[0] == status

    asyncio.run(main())


def test_who_waits_in_vain_hears_so_and_a_listener_that_ends_keeps_nobody():
    async def main():
        async with open_listener() as (listener, ask):
            with pytest.raises(Unheard, match="it is UNKNOWN"):
                await listener.ended("t", timeout_seconds=0.05)
            waits = asyncio.create_task(listener.ended("t"))
            asked = asyncio.create_task(ask("GET", "/tasks/t?wait=30"))
            while "tesk_listener_waiters 2" not in (await ask("GET", "/metrics"))[1]:
                pass
            began = time.monotonic()
            listener._feed.close()
            with pytest.raises(Unheard):
                await waits
            assert (await asked)[1]["state"] == "UNKNOWN"
            assert time.monotonic() - began < 20

    asyncio.run(main())


def test_more_waiters_than_the_setting_allows_are_told_to_come_later():
    async def main():
        async with open_listener(waiters_limit=1) as (listener, ask):
            waits = asyncio.create_task(listener.ended("t"))
            while "tesk_listener_waiters 1" not in (await ask("GET", "/metrics"))[1]:
                pass
            status, said = await ask("GET", "/tasks/t?wait=5")
            assert (status, "listener.waiters_limit" in said["detail"]) == (429, True)
            assert (await ask("POST", listener.url, moved("t", "COMPLETE", 1)))[0] == 204
            await waits

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": "0.0.0.0"}, "listener.token"),
        ({"token": "short"}, "listener.token"),
        ({"keys": ("nonsense",)}, r"listener.keys\[0\]"),
        ({"host": "0.0.0.0", "token": TOKEN, "plain": True}, "listener.plain"),
    ],
)
def test_settings_that_would_let_strangers_in_are_refused(settings, words):
    with pytest.raises(SettingsError, match=words):
        Listener(settings=ListenerSettings(port=0, **settings))


def test_what_was_heard_outlives_the_program_and_its_callback_urls_stay_good(tmp_path):
    async def main():
        database = str(tmp_path / "listener.db")
        async with open_listener(database=database) as (listener, ask):
            path = "/webhook/" + listener.url.rpartition("/")[2]
            assert (await ask("POST", path, moved("one", "COMPLETE", 3)))[0] == 204
        async with open_listener(database=database) as (listener, ask):
            assert (await listener.ended("one")).state == "COMPLETE"
            assert (await ask("POST", path, moved("two", "CANCELED", 3)))[0] == 204
            assert (await ask("GET", "/webhook/two")) == (200, "CANCELED")

    asyncio.run(main())


def test_a_server_that_answers_nobody_keeps_no_other_from_being_asked():
    async def main(server, mute):
        settings = ListenerSettings(port=0, quiet_seconds=0.1, asks_at_once=2, answer_seconds=0.5)
        async with Listener(settings=settings) as listener, Remote(listener.base) as remote:
            slow, quick = await remote.subscribe(server=mute), await remote.subscribe(server=server.url)
            async with Remote(listener.base, token=slow.token) as other:
                following = asyncio.create_task(anext(other.moves(task_ids=[f"slow-{n}" for n in range(500)])))
                async with Remote(listener.base, token=quick.token) as mine:
                    assert (await asyncio.wait_for(mine.ended("task-1"), 50)).state == "COMPLETE"
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    with (
        FakeTes(states=["COMPLETE"]).serving() as server,
        contextlib.closing(socket.create_server(("127.0.0.1", 0))) as mute,
    ):
        server.add({"executors": [{"command": ["a"]}]})
        asyncio.run(main(server, f"http://127.0.0.1:{mute.getsockname()[1]}"))
