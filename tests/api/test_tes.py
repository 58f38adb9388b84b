"""The five operations over a real socket and a real SQLite file."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from fakes import served as fake
from tesk.errors import Overloaded
from tesk.settings import DefaultsSettings, Settings
from tesk.tes.state import State

TASK = {"executors": [{"image": "debian", "command": ["true"]}]}
BASES = ["/ga4gh/tes/v1", "/v1"]


def create(served, **more):
    answer = served.ask("POST", "/v1/tasks", {**TASK, **more})
    assert answer.status == 200, answer
    return answer.json()["id"]


@pytest.mark.parametrize("base", BASES)
def test_both_base_paths_serve_the_five_operations(served, base):
    made = served.ask("POST", f"{base}/tasks", TASK)
    assert made.status == 200
    assert list(made.json()) == ["id"]
    task_id = made.json()["id"]
    assert served.get(f"{base}/tasks/{task_id}").json() == {"id": task_id, "state": "QUEUED"}
    assert served.get(f"{base}/tasks").json() == {"tasks": [{"id": task_id, "state": "QUEUED"}]}
    canceled = served.ask("POST", f"{base}/tasks/{task_id}:cancel")
    assert (canceled.status, canceled.json()) == (200, {})
    assert served.get(f"{base}/tasks/{task_id}").json()["state"] == "CANCELED"
    info = served.get(f"{base}/service-info").json()
    assert info["type"] == {"group": "org.ga4gh", "artifact": "tes", "version": "1.1.0"}
    assert info["tesResources_backend_parameters"] == ["time_limit_seconds"]


def test_the_old_service_info_has_three_fields(shared):
    assert list(shared.get("/v1/tasks/service-info").json()) == ["name", "doc", "storage"]


def test_ids_hold_no_colon_and_no_slash_and_sort_by_age(served):
    ids = [create(served) for _ in range(20)]
    assert ids == sorted(ids)
    assert not any(set(":/") & set(each) for each in ids)


def test_get_with_cancel_in_its_path_is_not_found_and_an_escaped_colon_cancels(served):
    task_id = create(served)
    assert served.get(f"/v1/tasks/{task_id}:cancel").status == 404
    assert served.get(f"/v1/tasks/{task_id}%3Acancel").status == 404
    assert served.ask("POST", f"/v1/tasks/{task_id}%3Acancel").status == 200
    assert served.get(f"/v1/tasks/{task_id}").json()["state"] == "CANCELED"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (None, {}),
        (b"", {}),
        (b"{}", {"Content-Type": "application/json"}),
        (b"{}", {}),
        (b"", {"Content-Type": "application/json"}),
        (b"", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"not json", {"Content-Type": "text/plain"}),
    ],
)
def test_cancel_comes_with_whatever_body_it_likes(served, body, headers):
    answer = served.ask("POST", f"/v1/tasks/{create(served)}:cancel", body, headers)
    assert (answer.status, answer.json()) == (200, {})


def test_a_task_that_has_ended_stays_as_it_is_when_it_is_canceled(served):
    task_id = create(served)
    assert [served.ask("POST", f"/v1/tasks/{task_id}:cancel").json() for _ in range(3)] == [{}, {}, {}]
    assert served.get(f"/v1/tasks/{task_id}").json()["state"] == "CANCELED"


@pytest.mark.parametrize("task_id", ["x", "0" * 26, "a" * 5000, "%2F", "..", "%00", "%FF", "é".encode().hex()])
def test_an_unknown_task_is_not_found_and_cannot_be_canceled(shared, task_id):
    for answer in (shared.get(f"/v1/tasks/{task_id}"), shared.ask("POST", f"/v1/tasks/{task_id}:cancel")):
        assert answer.status == 404
        assert answer.json()["status"] == 404


def test_a_get_may_come_with_a_content_type_and_no_body(shared):
    assert shared.ask("GET", "/v1/tasks", headers={"Content-Type": "application/json"}).status == 200


def test_errors_are_json_with_every_name_that_clients_look_for(shared):
    answer = shared.ask("POST", "/v1/tasks", {"executors": [{"command": []}], "volumes": ["x"]})
    error = answer.json()
    assert answer.status == error["status"] == error["status_code"] == 400
    assert error["title"] == "Bad request"
    assert error["detail"] == error["msg"] == "3 problems with this task"
    assert [set(problem) for problem in error["problems"]] == [{"path", "detail"}] * 3
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/", "/nothing", "/v1", "/v1/tasks/", "/v2/tasks", "//v1/tasks", "/ga4gh/tes/v1/"])
def test_unknown_paths_are_not_found_and_that_is_said_in_json(shared, path):
    answer = shared.get(path)
    assert (answer.status, answer.json()["title"]) == (404, "Not found")


def test_a_method_that_a_path_does_not_know_is_405_in_json(shared):
    answer = shared.ask("DELETE", "/v1/tasks")
    assert (answer.status, answer.json()["status"]) == (405, 405)
    assert shared.ask("POST", "/v1/service-info").status == 405
    assert shared.ask("POST", f"/v1/tasks/{'0' * 26}", {}).status == 405


def test_head_is_answered_without_a_body(shared):
    answer = shared.ask("HEAD", "/v1/tasks")
    assert (answer.status, answer.body) == (200, b"")


def test_views_over_http(served):
    task_id = create(served, inputs=[{"path": "/a", "content": "x"}])
    full = served.get(f"/v1/tasks/{task_id}?view=FULL").json()
    assert full["inputs"][0]["content"] == "x"
    assert full["logs"] == [{"outputs": [], "logs": [], "system_logs": []}]
    basic = served.get(f"/v1/tasks/{task_id}?view=BASIC").json()
    assert "content" not in basic["inputs"][0]
    assert basic["logs"] == [{"outputs": [], "logs": []}]
    assert [served.get("/v1/tasks?view=" + view).json()["tasks"] for view in ("BASIC", "FULL")] == [[basic], [full]]
    assert served.get(f"/v1/tasks/{task_id}?view=full").status == 400


def test_paging_visits_each_task_that_was_there_once_while_others_arrive(served):
    before = [create(served) for _ in range(10)]
    seen, token = [], ""
    while token is not None:
        page = served.get(f"/v1/tasks?page_size=3&page_token={token}").json()
        seen += [task["id"] for task in page["tasks"]]
        token = page.get("next_page_token")
        create(served)
    assert [task_id for task_id in seen if task_id in before] == before[::-1]
    assert len(set(seen)) == len(seen)


def test_lists_are_filtered_by_state_prefix_and_tags_together(served):
    one = create(served, name="Align-1", tags={"run": "1", "empty": ""})
    two = create(served, name="Align-2", tags={"run": "2"})
    create(served, name="sort", tags={"run": "1"})

    def ids(query):
        return [task["id"] for task in served.get(f"/v1/tasks?{query}").json()["tasks"]]

    assert ids("name_prefix=Align") == [two, one]
    assert ids("name_prefix=align") == []
    assert ids("name_prefix=Align&tag_key=run&tag_value=1") == [one]
    assert ids("tag_key=run&tag_key=empty&tag_value=1&tag_value=") == [one]
    assert ids("tag_key=empty") == [one]
    assert ids("tag_key=run&tag_key=run&tag_value=1&tag_value=2") == []
    assert ids("state=COMPLETE") == []
    assert len(ids("state=QUEUED&tag_key=run")) == 3


def test_what_the_server_defaults_shows_below_tesk_and_not_in_the_answer(served):
    task_id = create(served, resources={"ram_gb": 0})
    assert served.get(f"/v1/tasks/{task_id}?view=FULL").json()["resources"] == {"ram_gb": 0}
    ours = served.get(f"/tesk/v1/tasks/{task_id}").json()
    assert (ours["cpu_cores"], ours["ram_gb"], ours["disk_gb"], ours["owner"]) == (1, 1, 0, "local")


def test_resources_are_those_of_the_day_when_the_task_came_whatever_the_defaults_are_now(tmp_path):
    def resources(served, task_id):
        ours = served.get(f"/tesk/v1/tasks/{task_id}").json()
        return ours["cpu_cores"], ours["ram_gb"], ours["disk_gb"]

    with fake.serve(tmp_path, Settings(defaults=DefaultsSettings(cpu_cores=2.5, ram_gb=0.3, disk_gb=4))) as served:
        task_id = create(served, resources={"disk_gb": 5})
        assert resources(served, task_id) == (2.5, 0.3, 5)
    with fake.serve(tmp_path, Settings(defaults=DefaultsSettings(cpu_cores=1, ram_gb=1, disk_gb=1))) as served:
        assert resources(served, task_id) == (2.5, 0.3, 5)


def test_what_is_ours_stands_below_tesk(served):
    parameters = {"backend_parameters": {"x": "1"}, "cpu_cores": 0.5}
    task_id = create(served, resources=parameters)
    ours = served.get(f"/tesk/v1/tasks/{task_id}").json()
    assert ours["cpu_cores"] == 0.5
    full = served.get(f"/v1/tasks/{task_id}?view=FULL").json()
    assert full["resources"] == {"cpu_cores": 1}
    assert full["logs"][0]["system_logs"] == ours["warnings"]
    served.ask("POST", f"/v1/tasks/{task_id}:cancel")
    events = served.get(f"/tesk/v1/tasks/{task_id}").json()["events"]
    assert [(each["sequence"], each["previous_state"], each["state"]) for each in events] == [
        (1, None, "QUEUED"),
        (2, "QUEUED", "CANCELING"),
        (3, "CANCELING", "CANCELED"),
    ]
    assert served.get("/tesk/v1/tasks/x").status == 404
    assert served.get("/tesk/v1/service-info").json()["callbacks"] is False


def test_an_idempotency_key_gives_the_same_id_for_the_same_body_and_422_for_another(served):
    def post(key, **more):
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        return served.ask("POST", "/v1/tasks", {**TASK, **more}, headers)

    first = post("once").json()
    assert post("once").json() == first
    assert post("twice").json() != first
    assert post("once", name="x").status == 422
    assert len(served.get("/v1/tasks").json()["tasks"]) == 2
    assert post("x" * 256).status == post("\xe9").status == post(" ").status == 400


def test_a_body_over_the_limit_is_refused_before_it_is_read(tmp_path):
    settings = Settings()
    settings = replace(settings, server=replace(settings.server, body_limit_bytes=1000))
    with fake.serve(tmp_path, settings) as served:
        head = f"POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Type: application/json\r\n"
        head += "Connection: close\r\n"
        # Of a million bytes that are said to come not one is sent.
        said = served.raw((head + "Content-Length: 1000000\r\n\r\n").encode())
        assert said.startswith(b"HTTP/1.1 413 ")
        chunk = b"400\r\n" + b" " * 0x400 + b"\r\n"
        assert served.raw((head + "Transfer-Encoding: chunked\r\n\r\n").encode() + chunk).startswith(b"HTTP/1.1 413 ")
        assert served.ask("POST", "/v1/tasks", {**TASK, "name": "x" * 900}).status == 200
        assert served.ask("POST", "/v1/tasks", {**TASK, "name": "x" * 1000}).status == 413


def test_a_task_may_come_in_chunks(served):
    head = f"POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Type: application/json\r\n"
    body = b'{"executors": [{"image": "x", "command": ["y"]}]}'
    parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
    head += "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert served.raw(head.encode() + parts).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("apart", [False, True])
def test_a_client_that_asks_for_http_2_is_answered_as_any_other(served, apart):
    body = b'{"executors": [{"image": "x", "command": ["y"]}], "name": "\\r\\nUpgrade: x"}'
    head = "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    head += f"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    last = b"GET /v1/tasks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with fake.connect(served) as line:
        line.sendall(head.encode() + b"\r\n\r\n" + (b"" if apart else body))
        if apart:
            fake.until(lambda: b"tesk_" in served.get("/metrics").body)  # the head has been read
            line.sendall(body)
        assert line.recv(10_000).startswith(b"HTTP/1.1 200 ")
        line.sendall(last)
        assert line.recv(10_000).startswith(b"HTTP/1.1 200 ")


class Full:
    """A store before which too many wait."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def create(self, new):
        return asyncio.ensure_future(self._create(new))

    async def _create(self, _new):
        raise Overloaded("too many submissions wait", retry_after_seconds=3)


def test_overload_is_429_with_retry_after_and_nothing_is_stored(tmp_path):
    with fake.serve(tmp_path, wrap=Full) as served:
        answer = served.ask("POST", "/v1/tasks", TASK)
        assert (answer.status, answer.headers["retry-after"]) == (429, "3")
        assert served.get("/v1/tasks").json()["tasks"] == []


class Stalled(Full):
    """A store that takes for ever."""

    async def _create(self, _new):
        await self.changed("", State.QUEUED, 0)
        await fake.never()


def test_no_post_takes_more_than_five_seconds_and_then_the_door_is_closed_for_a_while(tmp_path):
    with fake.serve(tmp_path, wrap=Stalled) as served:
        began = time.monotonic()
        answer = served.ask("POST", "/v1/tasks", TASK)
        assert time.monotonic() - began < 5
        assert (answer.status, "retry-after" in answer.headers) == (503, True)
        assert served.ask("POST", "/v1/tasks", TASK).status == 429


def test_with_too_many_on_their_way_a_body_is_not_even_read(tmp_path):
    settings = Settings()
    settings = replace(settings, server=replace(settings.server, pending_limit=1))
    with fake.serve(tmp_path, settings, wrap=Stalled) as served, ThreadPoolExecutor(1) as threads:
        first = threads.submit(served.ask, "POST", "/v1/tasks", TASK)
        second = served.ask("POST", "/v1/tasks", TASK)
        assert {first.result().status, second.status} == {503, 429}


def test_wait_returns_when_the_task_leaves_its_state(served):
    task_id = create(served)
    with ThreadPoolExecutor(2) as threads:
        plain = threads.submit(served.get, f"/v1/tasks/{task_id}?wait=20")
        tagged = threads.submit(served.get, f"/v1/tasks/{task_id}?wait=20&view=FULL", If_None_Match='"QUEUED"')
        fake.until(lambda: len(served.store._signals._waiting.get(task_id, ())) == 2)
        began = time.monotonic()
        served.ask("POST", f"/v1/tasks/{task_id}:cancel")
        assert plain.result().json() == {"id": task_id, "state": "CANCELED"}
        assert tagged.result().json()["logs"] == [{"outputs": [], "logs": [], "system_logs": []}]
        assert time.monotonic() - began < 5


def test_wait_returns_at_once_when_the_state_is_another_than_the_tag_says(served):
    task_id = create(served)
    answer = served.get(f"/v1/tasks/{task_id}?wait=20", If_None_Match='"RUNNING"')
    assert (answer.status, answer.headers["etag"]) == (200, '"QUEUED"')


def test_wait_ends_with_304_when_nothing_happened_and_without_a_tag_with_the_task(served):
    task_id = create(served)
    answer = served.get(f"/v1/tasks/{task_id}?wait=0.05", If_None_Match='W/"QUEUED"')
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", '"QUEUED"')
    assert served.get(f"/v1/tasks/{task_id}?wait=0.05").json()["state"] == "QUEUED"


def test_nobody_waits_for_a_task_that_has_ended_nor_for_a_server_that_ends(served):
    task_id = create(served)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(served.get, f"/v1/tasks/{create(served)}?wait=50")
        served.ask("POST", f"/v1/tasks/{task_id}:cancel")
        assert served.get(f"/v1/tasks/{task_id}?wait=50").json()["state"] == "CANCELED"
        assert served.get(f"/v1/tasks/{task_id}?wait=50", If_None_Match='"CANCELED"').status == 304
        fake.until(lambda: len(served.store._signals._waiting) == 1)
        served.run(served.close_down())
        assert waiting.result().status == 200


def test_a_client_that_goes_away_is_waited_for_no_longer(served):
    task_id = create(served)
    line = fake.connect(served)
    line.sendall(f"GET /v1/tasks/{task_id}?wait=50 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    fake.until(lambda: served.store._signals._waiting)
    line.close()
    fake.until(lambda: not served.store._signals._waiting)


def test_without_wait_a_tag_says_something_of_minimal_only(served):
    task_id = create(served)
    assert served.get(f"/v1/tasks/{task_id}", If_None_Match='"QUEUED"').status == 304
    assert served.get(f"/v1/tasks/{task_id}?view=FULL", If_None_Match='"QUEUED"').status == 200


def test_an_authorization_that_is_not_needed_is_ignored(shared):
    for said in ("Bearer x", "Basic eDp5", "Nonsense"):
        assert shared.get("/v1/tasks", Authorization=said).status == 200
