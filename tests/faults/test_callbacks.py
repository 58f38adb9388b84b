"""Callbacks to a listener that fails three times in ten, and from a server that is killed: none lost, in order, twice only with the same id."""

import asyncio
import random
import threading
import time
from contextlib import closing

import pytest
import uvloop

from fakes.listener import listening
from fakes.process import Server
from fakes.record import Record
from fakes.sending import sending
from fakes.stubborn import Client
from fakes.tasks import new_task
from tesk.callbacks.subscribe import Subscribe, at_home
from tesk.caller import LOCAL
from tesk.settings import CallbacksSettings

SEED = 20261125
PATIENT = at_home(
    CallbacksSettings(
        retry_seconds=0.05, retry_most_seconds=0.5, answer_seconds=0.5, whole_seconds=2, connections_per_host=32
    )
)


async def tell(database, listener, tasks, seconds):
    """Make three moves of each task, and return when none waits to be told."""
    callback = Subscribe(PATIENT)(listener.url, LOCAL)
    async with sending(database, PATIENT, bound_seconds=seconds) as store:
        news = [new_task(callback=callback, created=time.time()) for _ in range(tasks)]
        for first in range(0, tasks, 200):
            few = news[first : first + 200]
            await asyncio.gather(*(store.create(new) for new in few))
            await asyncio.gather(*(store.cancel(new.id, LOCAL, time.time()) for new in few))
        while (backlog := await store.outbox.backlog()).pending:
            store.outbox.news.clear()
            await store.outbox.news.wait()
        assert backlog.failed == 0
        assert await store.check() == []
    return [new.id for new in news]


def flap(listener, stop, dice):
    """Refuse connections for a moment, now and then: each costs some seconds, in which only a probe is sent."""
    while not stop.wait(dice.uniform(0.5, 20.0)):
        listener.shut()
        stop.wait(dice.uniform(0.0, 0.3))
        listener.open()


def fail_three_in_ten(database, tasks, seconds):
    record, stop = Record(SEED, bad=0.3), threading.Event()
    with listening(record) as moody:
        flapping = threading.Thread(target=flap, args=(moody, stop, random.Random(SEED + 1)))
        flapping.start()
        try:
            ids = uvloop.run(tell(database, moody, tasks, seconds))
        finally:
            stop.set()
            flapping.join()
    for task_id in ids:
        record.assert_whole(task_id, 3)
        # No server was killed: nothing comes again behind what follows it.
        assert record.taken[task_id] == sorted(record.taken[task_id])
    assert record.changed == []
    assert record.many > 3 * tasks
    return record


def test_of_six_hundred_moves_none_is_lost_by_a_listener_that_fails_three_times_in_ten(tmp_path):
    fail_three_in_ten(str(tmp_path / "tesk.db"), 200, 60)


@pytest.mark.faults
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_of_a_hundred_thousand_moves_none_is_lost_by_a_listener_that_fails_three_times_in_ten(
    tmp_path, request, database
):
    place = str(tmp_path / "tesk.db") if database == "sqlite" else request.getfixturevalue("postgres_url")
    began = time.monotonic()
    record = fail_three_in_ten(place, 33_334, 1800)
    twice = sum(len(each) for each in record.taken.values()) - 3 * 33_334
    print(f"{record.many} sent, {twice} taken twice, {time.monotonic() - began:.0f} s")


def kill_at_random(folder, rounds, each):
    """Kill the server twice a round at random moments, while tasks come and run; then the listener's last state of each is the server's."""
    server = Server(folder, LOCAL_CPU_CORES="8", CALLBACKS_RETRY_SECONDS="0.05", CALLBACKS_RETRY_MOST_SECONDS="1")
    dice, moment, record, ids = random.Random(SEED), threading.Event(), Record(SEED), []
    words = (["true"], ["sh", "-c", "sleep 0.2"], ["false"], ["sleep", "600"])

    def submit():
        with closing(Client(server.url)) as client:
            for _ in range(each):
                command = dice.choice(words)
                ids.append(client.submit(*command, callback_url=listener.url))
                if command[-1] == "600":
                    client.cancel(ids[-1])

    with listening(record) as listener:
        for _ in range(rounds):
            server.start()
            load = threading.Thread(target=submit)
            load.start()
            moment.wait(dice.uniform(0.2, 2.0))  # any moment will do, that is the point
            server.kill()
            server.start()
            load.join(120)
            assert not load.is_alive()
            moment.wait(dice.uniform(0.0, 0.5))
            server.kill()
        server.start()
        try:
            server.wait_until_ready()
            with closing(Client(server.url)) as client:
                states = {task_id: client.until(task_id) for task_id in ids}
                moves = {task_id: client.ask("GET", f"/tesk/v1/tasks/{task_id}")["events"] for task_id in ids}
            record.wait(lambda: all(len(moves[each]) in record.taken[each] for each in ids), 60)
        finally:
            server.end()
    assert len(ids) == rounds * each
    assert record.changed == []
    for task_id in ids:
        record.assert_whole(task_id, len(moves[task_id]))
        assert record.last_state(task_id) == states[task_id]


def test_a_listener_knows_what_the_server_does_after_a_few_kills(tmp_path):
    kill_at_random(tmp_path, 2, 10)


@pytest.mark.faults
def test_a_listener_knows_what_the_server_does_after_a_hundred_kills(tmp_path):
    kill_at_random(tmp_path, 50, 20)
