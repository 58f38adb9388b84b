"""Two servers that send callbacks from one PostgreSQL, one of which is killed while it waits for answers."""

import threading
import time
from contextlib import closing

import pytest

from fakes.listener import GOOD, listening
from fakes.process import Server, running
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
