"""Listeners that mean no good, over real sockets: each is tried again, says why in its deliveries, and costs no more than it may."""

import asyncio
import signal
import ssl
import threading
import time
from itertools import chain, repeat

import pytest
import uvloop

from fakes.authority import authority
from fakes.listener import GOOD, Cut, listening
from fakes.sending import QUICK, sending, settled, subscribe
from tesk.callbacks.subscribe import at_home
from tesk.caller import LOCAL
from tesk.settings import CallbacksSettings
from tesk.store.outbox import Status

ONCE = at_home(CallbacksSettings(give_up_seconds=0, connect_seconds=1, answer_seconds=0.5, whole_seconds=1))
"""One try, and what became of it stays to be seen."""


@pytest.fixture
def database(tmp_path):
    return str(tmp_path / "tesk.db")


async def told(database, url, settings=ONCE):
    async with sending(database, settings) as store:
        (only,) = await settled(store, await subscribe(store, url, settings))
        return only


def drip():
    """A byte now and then, for ever."""
    waits = threading.Event()
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    while not waits.wait(0.05):
        yield b"x"


def drip_head():
    waits = threading.Event()
    yield b"HTTP/1.1 200 OK\r\n"
    while not waits.wait(0.05):
        yield b"X"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda _: drip(), "no whole answer within 1 s"),
        (lambda _: drip_head(), "no whole answer within 1 s"),
        (lambda _: None, "no answer within 0.5 s"),
        (lambda _: Cut(), "the connection broke before the answer"),
        (lambda _: Cut(reset=True), "the connection broke before the answer"),
        (lambda _: Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"), "the connection broke before the answer"),
        (lambda _: Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal", reset=True), "the connection broke"),
        (lambda _: repeat(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 60_000, 100), "the head of the answer is too long"),
        (lambda _: repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 99), "the head of the answer is too long"),
        (lambda _: Cut(b"HTTP/1.1 200 OK\r\nX: y"), "the connection broke before the answer"),
        (lambda _: b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP/1.1"),
    ],
)
def test_a_listener_that_does_not_answer_as_it_should_is_left_in_time_and_it_is_said_why(database, answer, why):
    with listening(answer) as bad:
        only = uvloop.run(told(database, bad.url))
        assert (only.status, only.tries, only.code) == (Status.FAILED, 1, None)
        assert why in only.error
        assert only.latency_seconds < 5
        assert bad.lines == 1


def test_of_an_answer_of_a_gigabyte_some_kilobytes_are_read(database):
    piece, sent = b"x" * 65536, []

    def gigabyte():
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"
        for _ in range(16384):
            sent.append(len(piece))
            yield piece

    with listening(lambda _: gigabyte()) as talkative:
        only = uvloop.run(told(database, talkative.url))
        assert (only.status, only.code) == (Status.DELIVERED, 200)
        assert len(only.answer) <= 512
    # What the kernel takes for a reader that is gone already comes on top.
    assert sum(sent) < 64 * 1024 * 1024


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX:",
    ],
)
def test_words_without_end_around_a_body_are_not_read(database, endless):
    with listening(lambda _: chain([endless], repeat(b"x" * 65536))) as talkative:
        only = uvloop.run(told(database, talkative.url))
        assert (only.code, only.status) in ((200, Status.DELIVERED), (None, Status.FAILED))
        assert only.latency_seconds < 0.9


def context_of(folder):
    certificate, key, *_ = authority(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


@pytest.mark.parametrize("bad", ["nobody vouches for it", "it is another's", "no TLS"])
def test_a_listener_whose_certificate_is_no_good_hears_nothing(database, tmp_path, monkeypatch, bad):
    context, certificate = context_of(tmp_path)
    if bad == "it is another's":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with listening(context=None if bad == "no TLS" else context) as impostor:
        only = uvloop.run(told(database, impostor.url.replace("http:", "https:")))
        assert only.status is Status.FAILED
        assert ("no connection within 1 s" if bad == "no TLS" else "no connection: [SSL") in only.error
        assert ("hostname" in only.error or "IP address" in only.error) is (bad == "it is another's")
        assert impostor.heard.empty()


def test_bad_lines_of_a_host_cost_its_good_answers_nothing(database):
    turns = iter([Cut(), GOOD, Cut(reset=True), GOOD, None, GOOD])

    async def story():
        with listening(lambda _: next(turns, GOOD)) as moody:
            async with sending(database, QUICK) as store:
                tasks = [await subscribe(store, moody.url) for _ in range(10)]
                for task in tasks:
                    await store.cancel(task, LOCAL, time.time())
                for task in tasks:
                    assert {one.status for one in await settled(store, task)} == {Status.DELIVERED}

    uvloop.run(story())


def test_what_is_sent_while_postgresql_is_stopped_comes_once_it_is_back_in_order(postgres_server, postgres_url):
    async def story():
        came = asyncio.Event()
        loop = asyncio.get_running_loop()

        def answer(_):
            loop.call_soon_threadsafe(came.set)
            return GOOD

        with listening(answer) as good:
            async with sending(postgres_url, QUICK) as store:
                tasks = [await subscribe(store, good.url) for _ in range(200)]
                await came.wait()
                await asyncio.to_thread(postgres_server.stop, signal.SIGQUIT)
                await asyncio.to_thread(postgres_server.start)
                for task in tasks:
                    await store.cancel(task, LOCAL, time.time())
                for task in tasks:
                    assert {one.status for one in await settled(store, task)} == {Status.DELIVERED}
            heard = [(one.json()["id"], one.json()["sequence"]) for one in good.heard.queue]
        for task in tasks:
            own = [sequence for of, sequence in heard if of == task]
            # Again is right, out of order or never is not.
            assert own == sorted(own)
            assert set(own) == {1, 2, 3}

    uvloop.run(story())
