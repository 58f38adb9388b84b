"""Servers that send callbacks from one PostgreSQL: one is killed while it waits for answers, or the database goes away."""

import signal
import threading
import time
from contextlib import closing

import pytest

from fakes.listener import GOOD, listening
from fakes.process import Server, running
from fakes.record import Record
from fakes.stubborn import Client

QUICK = {"CONTROLLER_LEASE_SECONDS": "1.5", "CALLBACKS_ANSWER_SECONDS": "60", "CALLBACKS_WHOLE_SECONDS": "90"}
TASKS = 4


@pytest.mark.faults
@pytest.mark.parametrize("same", [True, False], ids=["started again", "another machine's"])
def test_what_a_server_was_sending_when_it_was_killed_is_sent_once_its_lease_has_ended(tmp_path, postgres_url, same):
    came = threading.Semaphore(0)
    settings = QUICK | {"DATABASE": postgres_url}
    first = Server(tmp_path, **settings)
    other = tmp_path / "other"
    other.mkdir()
    with listening(lambda _: came.release()) as listener:
        first.start()
        try:
            with closing(Client(first.url)) as client:
                ids = [client.submit("true", callback_url=listener.url) for _ in range(TASKS)]
                for task_id in ids:
                    client.until(task_id)
            for _ in range(TASKS):
                assert came.acquire(timeout=30)
        finally:
            first.kill()
        first_moves = {f"{task_id}.1" for task_id in ids}
        assert {listener.next().headers["webhook-id"] for _ in ids} == first_moves
        listener.answer = lambda _: GOOD
        began, again = time.monotonic(), set()
        with running(tmp_path if same else other, **settings):
            while not again >= first_moves:
                again.add(listener.next().headers["webhook-id"])
        # Nobody knew that the server was dead but by its lease: what is taken is kept for two minutes otherwise.
        assert time.monotonic() - began < 45


@pytest.mark.faults
def test_a_server_whose_database_goes_away_and_comes_back_tells_of_every_move(tmp_path, postgres_server, postgres_url):
    settings = {"DATABASE": postgres_url, "CALLBACKS_RETRY_SECONDS": "0.05", "LOCAL_CPU_CORES": "4"}
    record, ids = Record(1), []
    with (
        listening(record) as listener,
        running(tmp_path, **settings) as server,
        closing(Client(server.url)) as client,
    ):
        for how in (signal.SIGQUIT, signal.SIGINT):
            ids += [client.submit("sh", "-c", f"sleep 0.{n}", callback_url=listener.url) for n in range(1, 9)]
            with postgres_server.away(how):
                pass
        for task_id in ids:
            client.until(task_id)
        moves = {task_id: len(client.ask("GET", f"/tesk/v1/tasks/{task_id}")["events"]) for task_id in ids}
        record.wait(lambda: all(moves[each] in record.taken[each] for each in ids), 60)
        for task_id in ids:
            record.assert_whole(task_id, moves[task_id])
            assert record.last_state(task_id) == client.get(task_id)["state"]
    assert record.changed == []
