"""The listener killed at random moments, or without its database: it knows what the server does, and tells each move once."""

import http.client
import json
import random
import signal
import threading
from contextlib import ExitStack, closing

import pytest

from fakes.listening import ListenerProcess, listener_process
from fakes.process import Server, running
from fakes.stubborn import Client
from fakes.waiter import waiting

SEED = 20261126
EAGER = {"CALLBACKS_RETRY_SECONDS": "0.05", "CALLBACKS_RETRY_MOST_SECONDS": "1"}
WORDS = (["true"], ["sh", "-c", "sleep 0.2"], ["false"], ["sleep", "600"])


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request):
    """Give the listener's database, as a setting of it."""
    return {} if request.param == "sqlite" else {"DATABASE": request.getfixturevalue("postgres_url")}


def assert_the_same_is_known(client, listener, waiter, ids, seconds):
    """Fail unless listener and waiter know, or come to know, what the server does of these tasks."""
    states = {task_id: client.until(task_id) for task_id in ids}
    moves = {task_id: len(client.ask("GET", f"/tesk/v1/tasks/{task_id}")["events"]) for task_id in ids}
    waiter.wait(moves, seconds)
    waiter.assert_once_and_in_order(ids)
    for task_id in ids:
        status, told = listener.ask("GET", f"/tasks/{task_id}")
        assert (status, told["state"], told["sequence"]) == (200, states[task_id], moves[task_id])
        assert waiter.told[task_id][-1].state == states[task_id]


def kill_at_random(folder, settings, *, kills, each, server_too):
    """Kill the listener, and the server too, at random moments of each round, while tasks come and run and somebody waits."""
    server = Server(folder, LOCAL_CPU_CORES="8", **EAGER)
    listener = ListenerProcess(folder / "listener", **settings)
    dice, moment, ids = random.Random(SEED), threading.Event(), []

    def submit(url):
        with closing(Client(server.url)) as client:
            for _ in range(each):
                command = dice.choice(WORDS)
                ids.append(client.submit(*command, callback_url=url))
                if command[-1] == "600":
                    client.cancel(ids[-1])

    with ExitStack() as ends:
        ends.callback(listener.end)
        listener.start()
        url = listener.subscribe()["callback_url"]
        ends.callback(server.end)
        server.start()
        waiter = ends.enter_context(waiting(listener.url))
        for _ in range(kills):
            load = threading.Thread(target=submit, args=(url,))
            load.start()
            # Any moment will do, that is the point; also while it starts, which takes long.
            if dice.random() < 0.7:
                listener.wait_until_ready()
            moment.wait(dice.uniform(0.0, 1.6))
            listener.kill()
            moment.wait(dice.uniform(0.0, 0.2))
            listener.launch()
            if server_too:
                moment.wait(dice.uniform(0.0, 1.6))
                server.kill()
                server.start()
            load.join(120)
            assert not load.is_alive()
        listener.wait_until_ready()
        with closing(Client(server.url)) as client:
            assert_the_same_is_known(client, listener, waiter, ids, 300)
    assert len(ids) == kills * each


def test_a_listener_that_is_killed_now_and_then_knows_what_the_server_does_and_tells_it_once(tmp_path):
    kill_at_random(tmp_path, {}, kills=2, each=8, server_too=False)


@pytest.mark.faults
@pytest.mark.parametrize("server_too", [False, True], ids=["alone", "and its server"])
def test_a_listener_that_is_killed_a_hundred_times_knows_what_the_server_does_and_tells_it_once(
    tmp_path, settings, server_too
):
    kill_at_random(tmp_path, settings, kills=100, each=10, server_too=server_too)


class Teller:
    """Tells a listener of one task after the other. `answers` are status and Retry-After of each."""

    def __init__(self, port, path):
        self._port, self._path = port, path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tell)
        self._grown = threading.Condition()
        self.answers = {}

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(90)

    def wait(self, status, many):
        """Wait for so many more answers of a status."""

        def seen():
            return sum(got == status for got, _ in self.answers.values())

        with self._grown:
            wanted = seen() + many
            assert self._grown.wait_for(lambda: seen() >= wanted, 60), self.answers

    def _tell(self):
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as line:
            while not self._stop.wait(0.01):
                name = f"told-{len(self.answers)}"
                line.request("POST", self._path, json.dumps({"id": name, "state": "COMPLETE", "sequence": 1}))
                answer = line.getresponse()
                answer.read()
                with self._grown:
                    self.answers[name] = (answer.status, answer.getheader("retry-after"))
                    self._grown.notify_all()


def test_a_listener_whose_database_is_away_takes_nothing_that_it_cannot_keep_and_misses_nothing(
    tmp_path, postgres_server, postgres_url
):
    with (
        running(tmp_path, **EAGER) as server,
        closing(Client(server.url)) as client,
        listener_process(tmp_path / "listener", DATABASE=postgres_url) as listener,
        waiting(listener.url) as waiter,
    ):
        url = listener.subscribe()["callback_url"]
        ids = [client.submit("sh", "-c", "sleep 0.5", callback_url=url) for _ in range(4)]
        with Teller(listener.port, url.removeprefix(listener.url)) as teller:
            teller.wait(204, 5)
            with postgres_server.away(signal.SIGQUIT):
                ids += [client.submit("true", callback_url=url) for _ in range(4)]
                for task_id in ids:
                    client.until(task_id)
                teller.wait(503, 5)
                assert listener.ask("GET", "/readyz")[0] == 503
                assert listener.ask("GET", f"/tasks/{ids[0]}")[0] == 503
            teller.wait(204, 5)
        assert_the_same_is_known(client, listener, waiter, ids, 60)
        assert {(status, after is not None) for status, after in teller.answers.values()} == {(204, False), (503, True)}
        for name, (status, _) in teller.answers.items():
            if status == 204:
                assert listener.ask("GET", f"/webhook/{name}") == (200, "COMPLETE")
