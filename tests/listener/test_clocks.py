"""Clocks that are wrong, or are set: nothing is believed that should not be, nothing is lost, nothing waits for a clock to catch up."""

import asyncio
import base64
import json
import time
from datetime import UTC, datetime

import aiohttp
import pytest
from standardwebhooks import Webhook

from fakes.sending import sending, settled, subscribe
from tesk.ages import LEAP_SECONDS, ages
from tesk.callbacks.subscribe import at_home
from tesk.caller import LOCAL
from tesk.listener import Listener
from tesk.settings import CallbackKey, CallbacksSettings, ListenerSettings
from tesk.store.outbox import Status

TODAYS, YESTERDAYS = (f"whsec_{base64.b64encode(each * 32).decode()}" for each in (b"t", b"y"))
DAY, HOURS = 86_400.0, 3 * 3600.0
SIGNING = at_home(CallbacksSettings(keys=(CallbackKey(secret=TODAYS),), retry_seconds=0.02, retry_most_seconds=0.1))


class Clock:
    """The machine's, and so many seconds more."""

    def __init__(self):
        self.leap = 0.0

    def __call__(self):
        return time.time() + self.leap


def believing(*keys, clock=time.time, database=":memory:"):
    return Listener(database=database, settings=ListenerSettings(port=0, keys=keys), clock=clock)


def signed(body, key=TODAYS, stamp=None):
    stamp = int(time.time() if stamp is None else stamp)
    return {
        "webhook-id": f"{body['id']}.{body['sequence']}",
        "webhook-timestamp": str(stamp),
        "webhook-signature": Webhook(key).sign(
            f"{body['id']}.{body['sequence']}", datetime.fromtimestamp(stamp, UTC), json.dumps(body)
        ),
    }


@pytest.mark.parametrize("whose", ["sender", "listener"])
@pytest.mark.parametrize("leap", [HOURS, -HOURS, 30 * DAY, -30 * DAY])
def test_what_is_refused_while_a_clock_is_wrong_is_taken_once_it_is_right(tmp_path, whose, leap):
    clocks = {"sender": Clock(), "listener": Clock()}

    async def story():
        async with (
            believing(TODAYS, clock=clocks["listener"]) as listener,
            sending(str(tmp_path / "tesk.db"), SIGNING, clock=clocks["sender"]) as store,
        ):
            clocks[whose].leap = leap
            task = await subscribe(store, f"{listener.base}/webhook", SIGNING)
            refused = None
            while refused is None or refused.tries < 3:
                store.outbox.news.clear()
                (refused,) = (await store.outbox.subscription(task, LOCAL)).deliveries
                if refused.tries < 3:
                    await store.outbox.news.wait()
            assert (refused.status, refused.code, "time stamp" in refused.answer) == (Status.PENDING, 401, True)
            assert (await listener.state(task)).state == "UNKNOWN"
            clocks[whose].leap = 0.0
            await store.cancel(task, LOCAL, time.time())
            assert {one.status for one in await settled(store, task)} == {Status.DELIVERED}
            told = await listener.ended(task, timeout_seconds=30)
            assert (told.state, told.sequence) == ("CANCELED", 3)

    asyncio.run(story())


def test_what_is_replayed_is_no_news_for_some_minutes_and_then_not_believed():
    clock, body = Clock(), {"id": "t", "state": "RUNNING", "sequence": 3}
    headers = signed(body)

    async def story():
        async with believing(TODAYS, clock=clock) as listener, aiohttp.ClientSession() as session:

            async def post():
                async with session.post(f"{listener.base}/webhook", data=json.dumps(body), headers=headers) as answer:
                    return answer.status

            for leap, status in ((0, 204), (200, 204), (-200, 204), (400, 401), (-400, 401), (DAY, 401), (-DAY, 401)):
                clock.leap = leap
                assert await post() == status
            async with session.get(f"{listener.base}/metrics") as answer:
                counts = await answer.text()
            for verdict, times in (("news", 1), ("duplicate", 2)):
                assert f'tesk_listener_callbacks_total{{verdict="{verdict}"}} {times}' in counts

    asyncio.run(story())


def test_yesterdays_key_is_believed_as_long_as_it_is_named(tmp_path):
    database = str(tmp_path / "listener.db")

    async def post(keys, sequence, key):
        body = {"id": "t", "state": "RUNNING", "sequence": sequence}
        async with believing(*keys, database=database) as listener, aiohttp.ClientSession() as session:
            url, headers = f"{listener.base}/webhook", signed(body, key)
            async with session.post(url, data=json.dumps(body), headers=headers) as answer:
                return answer.status, (await listener.state("t")).sequence

    async def story():
        assert await post([YESTERDAYS], 1, YESTERDAYS) == (204, 1)
        assert await post([TODAYS, YESTERDAYS], 2, YESTERDAYS) == (204, 2)
        assert await post([TODAYS, YESTERDAYS], 3, TODAYS) == (204, 3)
        assert await post([TODAYS], 4, YESTERDAYS) == (401, 3)

    asyncio.run(story())


def test_a_clock_that_is_set_forward_makes_nothing_days_older_and_one_that_is_set_back_is_followed():
    clock = Clock()
    now, began = ages(clock), time.time()
    assert now() == pytest.approx(began, abs=60)
    clock.leap = 30 * DAY
    assert now() == pytest.approx(began + LEAP_SECONDS, abs=60)
    clock.leap = 600.0
    assert now() == pytest.approx(began + 600, abs=60)
    clock.leap = -DAY
    assert now() == pytest.approx(began - DAY, abs=60)
