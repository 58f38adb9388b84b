"""`kill -9` of the server at random moments, under a load: every acknowledged task ends right, none runs twice at once."""

import os
import random
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from fakes.environment import HOUSE
from fakes.process import Server
from fakes.stubborn import Client
from faults.leftovers import assert_nothing_is_left

SEED = 20261124
TASKS_PER_KILL = 10


@pytest.fixture
def locks():
    """Give a folder that every user can reach: a task's lock lies there, seen by all its attempts."""
    # Not below /tmp: there a task sees its own. Nor below this checkout where root has it to itself.
    place = Path("/srv") if os.geteuid() == 0 else HOUSE / "build"
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix="tesk-locks-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    if request.param == "sqlite":
        return str(tmp_path / "data/tesk.db")
    return request.getfixturevalue("postgres_url")


class Load:
    """Submits tasks of three kinds, a few with each kill, and knows how each must end."""

    def __init__(self, server, locks, seed):
        self.ends: dict[str, str] = {}
        self._server = server
        self._locks = locks
        self._dice = random.Random(seed)
        self._rounds = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._submit, daemon=True)
        self._left = 0
        self.failed: BaseException | None = None

    def run(self, rounds):
        self._left = rounds
        self._thread.start()

    def go_on(self):
        """Let the next few be submitted."""
        self._rounds.release()

    def finish(self):
        """Wait until all were acknowledged."""
        self._thread.join(120)
        assert not self._thread.is_alive()
        if self.failed is not None:
            raise self.failed

    def _submit(self):
        try:
            with closing(Client(self._server.url)) as client:
                for number in range(self._left * TASKS_PER_KILL):
                    if number % TASKS_PER_KILL == 0:
                        self._rounds.acquire()
                    self._one(client, number)
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            self.failed = error

    def _one(self, client, number):
        (self._locks / str(number)).touch()
        # Whatever of the task lives holds its lock, and a second attempt beside it would end with 99.
        alone = f"exec 9<{self._locks}/{number} || exit 98; flock -n 9 || exit 99; "
        kind = self._dice.choices(["good", "bad", "canceled"], [7, 2, 1])[0]
        if kind == "canceled":
            task_id = client.submit("sh", "-c", alone + "sleep 600", key=f"key-{number}")
            client.cancel(task_id)
            self.ends[task_id] = "CANCELED"
            return
        seconds = self._dice.uniform(0.0, 0.3)
        if kind == "bad":
            task_id = client.submit("sh", "-c", alone + f"sleep {seconds:.3f}; exit 3", key=f"key-{number}")
            self.ends[task_id] = "EXECUTOR_ERROR"
            return
        task_id = client.submit(
            "sh",
            "-c",
            alone + f"sleep {seconds:.3f}; echo {number} >/out/said",
            key=f"key-{number}",
            outputs=[{"path": "/out/said", "url": f"file://{self._server.files}/{number}"}],
        )
        self.ends[task_id] = f"COMPLETE {number}"


def ended_right(client, server, task_id, expected):
    state, _, number = expected.partition(" ")
    assert client.until(task_id, state) == state
    if number:
        assert (server.files / number).read_text() == f"{number}\n"
    if state == "EXECUTOR_ERROR":
        assert client.get(task_id, "FULL")["logs"][-1]["logs"][0]["exit_code"] == 3


def kill_at_random(folder, database, locks, kills):
    server = Server(folder, LOCAL_CPU_CORES="8", LOCAL_VISIBLE=f"/usr:/bin:/lib:/lib64:{locks}", DATABASE=database)
    load = Load(server, locks, SEED)
    dice = random.Random(SEED + 1)
    load.run(kills)
    moment = threading.Event()
    for _ in range(kills):
        server.start()
        load.go_on()
        moment.wait(dice.uniform(0.0, 1.6))  # no signal to wait for: any moment will do, that is the point
        server.kill()
    server.start()
    try:
        load.finish()
        server.wait_until_ready()
        with closing(Client(server.url)) as client:
            for task_id, expected in load.ends.items():
                ended_right(client, server, task_id, expected)
    finally:
        server.end()
    assert len(load.ends) == kills * TASKS_PER_KILL
    assert_nothing_is_left(folder, database, set(load.ends))


def test_no_task_is_lost_or_run_twice_at_once_by_ten_kills(tmp_path, database, locks):
    kill_at_random(tmp_path, database, locks, 10)


@pytest.mark.faults
def test_no_task_is_lost_or_run_twice_at_once_by_two_hundred_kills(tmp_path, database, locks):
    kill_at_random(tmp_path, database, locks, int(os.environ.get("TESK_FAULT_KILLS", "200")))
