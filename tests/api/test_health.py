"""What is told to whoever watches the server."""

import asyncio
import re

from fakes import served as fake
from tesk.errors import Unavailable
from tesk.telemetry.metrics import Metrics

TASK = {"executors": [{"image": "debian", "command": ["true"]}]}
SAMPLE = re.compile(r'[a-z_]+(\{([a-z]+="[^"\\]*",?)+\})? [0-9.e+-]+')


class Gone:
    """A store whose database is gone."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def ping(self, retry_after_seconds=None):
        raise Unavailable("the database does not answer", retry_after_seconds=retry_after_seconds)

    get = list = cancel = counts = ping

    def create(self, _new):
        return asyncio.ensure_future(self.ping(5))


def test_a_live_server_with_database_and_controller_is_ready(shared):
    assert shared.get("/livez").status == 200
    assert shared.get("/readyz").status == 200


def test_a_server_whose_database_is_gone_lives_is_not_ready_and_answers_503(tmp_path):
    with fake.serve(tmp_path, wrap=Gone) as served:
        assert served.get("/livez").status == 200
        ready = served.get("/readyz")
        assert (ready.status, ready.json()["detail"]) == (503, "the database does not answer")
        made = served.ask("POST", "/v1/tasks", TASK)
        assert (made.status, made.headers["retry-after"]) == (503, "5")


def test_a_server_whose_controller_stands_still_is_not_ready(tmp_path):
    with fake.serve(tmp_path, alive=lambda: False) as served:
        assert served.get("/livez").status == 200
        assert "controller" in served.get("/readyz").json()["detail"]


def test_metrics_count_what_happened_and_name_no_task(served):
    task_id = served.ask("POST", "/v1/tasks", TASK).json()["id"]
    served.get(f"/v1/tasks/{task_id}")
    served.get(f"/v1/tasks/{task_id}/nothing")
    served.ask("BREW", "/v1/tasks")
    served.ask("POST", "/v1/tasks", {"executors": []})
    answer = served.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    assert task_id not in text
    assert "BREW" not in text
    for line in (
        'tesk_http_requests_total{route="/tasks",method="POST",code="200"} 1',
        'tesk_http_requests_total{route="/tasks",method="POST",code="400"} 1',
        'tesk_http_requests_total{route="/tasks/{id}",method="GET",code="200"} 1',
        'tesk_http_requests_total{route="other",method="GET",code="404"} 1',
        "tesk_submissions_total 1",
        'tesk_tasks{state="QUEUED"} 1',
        'tesk_tasks{state="RUNNING"} 0',
        "tesk_tasks_held 0",
        "tesk_store_commit_changes_count 1",
    ):
        assert line in text.splitlines()
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or SAMPLE.fullmatch(line), line


def test_a_histogram_counts_into_every_bucket_that_is_wide_enough():
    metrics = Metrics()
    metrics.started(0.3)
    metrics.started(10**9)
    metrics.ended("COMPLETE", 0.1)
    lines = metrics.text({}, "1").splitlines()
    assert 'tesk_task_queued_seconds_bucket{le="0.1"} 0' in lines
    assert 'tesk_task_queued_seconds_bucket{le="0.5"} 1' in lines
    assert 'tesk_task_queued_seconds_bucket{le="+Inf"} 2' in lines
    assert "tesk_task_queued_seconds_count 2" in lines
    assert 'tesk_task_run_seconds_bucket{state="COMPLETE",le="0.1"} 1' in lines


class Broken(Gone):
    """A store with a bug."""

    async def mark(self, *_):
        raise ZeroDivisionError

    async def get(self, *_):
        raise ZeroDivisionError

    async def events(self, **_):
        raise ZeroDivisionError


def test_a_bug_is_500_in_json_and_the_server_lives_on(tmp_path):
    with fake.serve(tmp_path, wrap=Broken) as served:
        for path in ("/v1/tasks/", "/tesk/v1/tasks/"):
            answer = served.get(path + "0" * 26)
            assert (answer.status, answer.json()["status"]) == (500, 500)
        assert served.get("/livez").status == 200
        assert 'route="/tasks/{id}",method="GET",code="500"} 1' in served.get("/metrics").body.decode()
