"""The sender on a real store and real sockets: in order, again until it was heard, and nobody waits for a bad listener."""

import asyncio
import contextlib
import threading
import time

import pytest
import uvloop

from fakes.databases import opened
from fakes.listener import GOOD, listening
from fakes.sending import QUICK, sending, settled, subscribe
from tesk.callbacks.subscribe import at_home
from tesk.caller import LOCAL
from tesk.settings import CallbacksSettings
from tesk.store.outbox import Sent, Status


@pytest.fixture
def database(tmp_path):
    return str(tmp_path / "tesk.db")


def test_each_move_is_sent_once_and_in_order_to_a_good_listener(database):
    async def story():
        with listening() as good:
            async with sending(database) as store:
                tasks = [await subscribe(store, good.url) for _ in range(50)]
                for task in tasks:
                    await store.cancel(task, LOCAL, time.time())
                for task in tasks:
                    assert {one.status for one in await settled(store, task)} == {Status.DELIVERED}
            heard = [good.heard.get_nowait() for _ in range(150)]
            assert good.heard.empty()
            for task in tasks:
                own = [one.json() for one in heard if one.json()["id"] == task]
                assert [(one["state"], one["sequence"]) for one in own] == [
                    ("QUEUED", 1),
                    ("CANCELING", 2),
                    ("CANCELED", 3),
                ]
            assert good.lines <= QUICK.connections_per_host

    uvloop.run(story())


@pytest.mark.parametrize(
    "bad",
    [
        b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
        b"this is no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        None,
    ],
)
def test_what_was_not_heard_is_sent_again_with_the_same_id_before_what_follows(database, bad):
    tries = iter([bad, bad, bad])
    ids = []

    def answer(one):
        ids.append(one.headers["webhook-id"])
        return next(tries, GOOD)

    async def story():
        with listening(answer) as poor:
            async with sending(database) as store:
                task = await subscribe(store, poor.url)
                await store.cancel(task, LOCAL, time.time())
                deliveries = await settled(store, task)
                assert [one.status for one in deliveries] == [Status.DELIVERED] * 3
                assert [one.tries for one in deliveries] == [4, 1, 1]
            assert ids == [f"{task}.1"] * 4 + [f"{task}.2", f"{task}.3"]

    uvloop.run(story())


def test_an_answer_without_end_counts_by_its_status_and_is_not_read(database):
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100_000

    async def story():
        with listening(lambda _: endless) as talkative:
            async with sending(database) as store:
                (only,) = await settled(store, await subscribe(store, talkative.url))
                assert (only.status, only.code, only.tries) == (Status.DELIVERED, 200, 1)
                assert len(only.answer) <= 512

    uvloop.run(story())


def test_410_ends_the_subscription(database):
    async def story():
        with listening(lambda _: b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n") as done:
            async with sending(database) as store:
                task = await subscribe(store, done.url)
                await settled(store, task)
                await store.cancel(task, LOCAL, time.time())
                assert [one.status for one in await settled(store, task)] == [Status.ENDED]
                assert (await store.outbox.subscription(task, LOCAL)).ended

    uvloop.run(story())


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1024/closed", "no connection"),
        (f"http://{'a' * 70}.example:8080/no-resolver-takes-it", "no address"),
    ],
)
def test_what_nobody_takes_fails_in_the_end_and_says_why(database, url, why):
    settings = at_home(CallbacksSettings(retry_seconds=0.01, retry_most_seconds=0.05, give_up_seconds=0.5))

    async def story():
        async with sending(database, settings) as store:
            (only,) = await settled(store, await subscribe(store, url, settings))
            assert only.status is Status.FAILED
            assert why in only.error
            assert only.tries > 1

    uvloop.run(story())


def test_what_was_put_off_by_a_clock_that_has_been_set_back_since_is_sent(database):
    async def story():
        with listening() as good:
            async with opened(database) as store:
                task = await subscribe(store, good.url)
                (one,) = await store.outbox.take([f"http://127.0.0.1:{good.port} local"], now=time.time(), each=9)
                await store.outbox.record([Sent(task_id=task, claim=one.claim, tries=(), due=time.time() + 10**7)])
            async with sending(database) as store:
                (only,) = await settled(store, task)
                assert only.status is Status.DELIVERED

    uvloop.run(story())


def test_an_address_that_became_private_since_it_was_set_is_not_called(database):
    async def story():
        with listening() as inside:
            async with sending(database, CallbacksSettings(give_up_seconds=0)) as store:
                # Set while the settings allowed it; they do not any more.
                (only,) = await settled(store, await subscribe(store, inside.url))
                assert "may not be called" in only.error
            assert inside.lines == 0

    uvloop.run(story())


def test_a_listener_that_never_answers_keeps_nobody_else_waiting(database):
    settings = at_home(CallbacksSettings(answer_seconds=20, whole_seconds=20))

    async def story():
        with listening(lambda _: None) as silent, listening() as good:
            async with sending(database, settings) as store:
                await asyncio.gather(*(subscribe(store, silent.url, settings) for _ in range(200)))
                began = time.monotonic()
                for _ in range(20):
                    await settled(store, await subscribe(store, good.url, settings))
                assert time.monotonic() - began < 15
            assert silent.lines <= settings.connections_per_host

    uvloop.run(story())


def test_a_user_whose_listeners_are_all_silent_holds_up_nobody_elses(database):
    settings = at_home(CallbacksSettings(answer_seconds=20, whole_seconds=20, connections=6, connections_per_user=4))

    async def story():
        came = threading.Semaphore(0)
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(listening(lambda _: came.release())) for _ in range(5)]
            good = stack.enter_context(listening())
            async with sending(database, settings) as store:
                for each in silent * 10:
                    await subscribe(store, each.url, settings, owner="ann")
                for _ in range(settings.connections_per_user):
                    assert await asyncio.to_thread(came.acquire, timeout=30)
                began = time.monotonic()
                for _ in range(20):
                    await settled(store, await subscribe(store, good.url, settings, owner="bob"))
                assert time.monotonic() - began < 15
            assert sum(each.lines for each in silent) == settings.connections_per_user

    uvloop.run(story())


def test_a_dead_host_gets_probes_alone_however_much_waits_for_it(database):
    async def story():
        settings = at_home(CallbacksSettings(retry_seconds=0.0, give_up_seconds=100))
        calls = threading.Semaphore(0)

        def refuse(_):
            calls.release()
            return b"HTTP/1.1 500 Dead\r\nContent-Length: 0\r\n\r\n"

        with listening(refuse) as dead, listening() as good:
            async with sending(database, settings) as store:
                await asyncio.gather(*(subscribe(store, dead.url, settings) for _ in range(300)))
                for _ in range(30):
                    await settled(store, await subscribe(store, good.url, settings))
            # Ten in a row open the circuit; what was under way then comes on top.
            assert dead.heard.qsize() <= 10 + 2 * settings.connections_per_host

    uvloop.run(story())


def test_what_waits_too_long_for_a_dead_host_fails_by_itself_and_is_not_sent(database):
    dead = b"HTTP/1.1 500 Dead\r\nContent-Length: 0\r\n\r\n"
    settings = at_home(CallbacksSettings(retry_seconds=0.0, give_up_seconds=1.0))

    async def story():
        with listening(lambda _: dead) as listener:
            async with sending(database, settings) as store:
                tasks = await asyncio.gather(*(subscribe(store, listener.url, settings) for _ in range(400)))
                while (backlog := await store.outbox.backlog()).pending:
                    store.outbox.news.clear()
                    await store.outbox.news.wait()
                assert backlog.failed == len(tasks)
                assert await store.check() == []
            untried = [task for task in tasks if task not in {one.json()["id"] for one in listener.heard.queue}]
            assert len(untried) > 200

    uvloop.run(story())


def test_a_clock_that_leaps_days_ahead_ends_nothing_that_waits(database):
    leap = 0.0

    def clock():
        return time.time() + leap

    async def story():
        nonlocal leap
        down = True
        away = b"HTTP/1.1 500 Away\r\nContent-Length: 0\r\n\r\n"
        settings = at_home(CallbacksSettings(retry_seconds=0.01, retry_most_seconds=0.05))
        with listening(lambda _: away if down else GOOD) as listener:
            async with sending(database, settings, clock=clock) as store:
                task = await subscribe(store, listener.url, settings)
                await asyncio.to_thread(listener.next)
                leap = 30 * 86400.0
                await asyncio.to_thread(listener.next)
                leap = -30 * 86400.0
                await asyncio.to_thread(listener.next)
                down = False
                (only,) = await settled(store, task)
                assert only.status is Status.DELIVERED
            assert {one.headers["webhook-id"] for one in listener.heard.queue} == {f"{task}.1"}

    uvloop.run(story())


def test_what_a_server_was_sending_when_it_was_stopped_is_sent_by_another_at_once(postgres_url):
    settings = at_home(CallbacksSettings(answer_seconds=20, whole_seconds=20))

    async def story():
        came = threading.Semaphore(0)
        with listening(lambda _: came.release()) as silent:
            async with sending(postgres_url, settings) as store:
                tasks = [await subscribe(store, silent.url, settings) for _ in range(20)]
                for _ in range(settings.connections_per_host):
                    assert await asyncio.to_thread(came.acquire, timeout=30)
            silent.answer = lambda _: GOOD
            began = time.monotonic()
            async with sending(postgres_url, settings) as store:
                for task in tasks:
                    (only,) = await settled(store, task)
                    assert only.status is Status.DELIVERED
            assert time.monotonic() - began < 15

    uvloop.run(story())


def test_what_was_not_sent_when_the_server_died_is_sent_by_the_next(database):
    async def story():
        with listening() as good:
            async with opened(database) as store:
                task = await subscribe(store, good.url)
                # Taken, and its sender dies before it says what became of it.
                assert (
                    len(await store.outbox.take([f"http://127.0.0.1:{good.port} local"], now=time.time(), each=9)) == 1
                )
            async with sending(database) as store:
                (only,) = await settled(store, task)
                assert only.status is Status.DELIVERED
            assert good.heard.qsize() == 1

    uvloop.run(story())
