"""Two servers on one database: one takes requests, the other runs tasks."""

from contextlib import closing

import pytest

from fakes.process import running
from fakes.stubborn import Client


@pytest.fixture
def front(tmp_path, postgres_url):
    (tmp_path / "front").mkdir()
    with running(tmp_path / "front", DATABASE=postgres_url, CONTROLLER_ENABLED="false") as server:
        yield server


def test_a_server_without_a_controller_takes_tasks_that_another_one_runs(front, tmp_path, postgres_url):
    with closing(Client(front.url)) as client:
        task_id = client.submit("sh", "-c", "echo done")
        assert client.get(task_id)["state"] == "QUEUED"
        assert client.ask("GET", "/readyz") == {"status": "ok"}
        (tmp_path / "behind").mkdir()
        with running(tmp_path / "behind", DATABASE=postgres_url):
            assert client.until(task_id) == "COMPLETE"
        [log] = client.get(task_id, "FULL")["logs"]
        assert log["logs"][0]["stdout"] == "done\n"
