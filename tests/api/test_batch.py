"""Many tasks in one request: each in its place, all or none, again by a key, and what is no batch."""

import json
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fakes import served as fake
from tesk.callbacks.subscribe import Subscribe, at_home
from tesk.errors import Overloaded
from tesk.settings import Settings
from tesk.tes.ids import is_id

BATCH = "/tesk/v1/tasks:batch"
GOOD = {"executors": [{"image": "debian", "command": ["true"]}]}
BAD = {"executors": [{"command": ["true"]}]}
LINES = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
REASON = {"path": "executors[0].image", "detail": "must be given"}


def named(name, task=GOOD, **more):
    return task | {"name": name, **more}


def lines(tasks):
    return b"\n".join(json.dumps(task).encode() for task in tasks)


def listed(served, prefix):
    """Return the ids of all tasks whose name begins so, by name."""
    found, token = {}, ""
    while token is not None:
        page = served.get(f"/v1/tasks?view=BASIC&page_size=2000&name_prefix={prefix}&page_token={token}").json()
        found |= {task["name"]: task["id"] for task in page["tasks"]}
        token = page.get("next_page_token")
    return found


@pytest.mark.parametrize("form", ["list", "object", "lines"])
@pytest.mark.parametrize("accept", ["*/*", "application/x-ndjson"])
def test_each_is_answered_in_its_place(shared, form, accept):
    tasks = [named(f"{form}{accept[0]}{n}", BAD if n % 3 == 1 else GOOD) for n in range(700)]
    body = {"list": tasks, "object": {"tasks": tasks}}.get(form) or lines([*tasks])
    answer = shared.ask("POST", BATCH, body, {"Accept": accept} | (LINES if form == "lines" else {}))
    assert answer.status == 200
    if accept == "*/*":
        places = answer.json()["tasks"]
    else:
        assert answer.headers["content-type"] == "application/x-ndjson"
        places = [json.loads(line) for line in answer.body.splitlines()]
    assert len(places) == len(tasks)
    there = listed(shared, f"{form}{accept[0]}")
    for task, place in zip(tasks, places, strict=True):
        if "image" in task["executors"][0]:
            assert place == {"id": there.pop(task["name"])}
        else:
            assert place["error"]["status"] == 400
            assert place["error"]["problems"] == [REASON]
    assert there == {}


def test_where_none_is_good_all_reasons_are_told(shared):
    for headers in (JSON, JSON | {"Accept": "application/x-ndjson"}):
        answer = shared.ask("POST", BATCH, json.dumps([BAD, 3]).encode(), headers)
        said = answer.json()
        assert answer.status == said["status"] == 400
        assert said["problems"] == [
            {"path": "tasks[0].executors[0].image", "detail": "must be given"},
            {"path": "tasks[1]", "detail": "must be an object, not 3"},
        ]
        assert [place["error"]["status"] for place in said["tasks"]] == [400, 400]


def test_of_a_batch_that_is_atomic_all_are_stored_or_none(shared):
    tasks = [named(f"atomic{n}") for n in range(300)]
    refused = shared.ask("POST", f"{BATCH}?atomic=true", [*tasks[:17], BAD, *tasks, 4])
    assert refused.status == 400
    assert [each["path"] for each in refused.json()["problems"]] == ["tasks[17].executors[0].image", "tasks[318]"]
    assert "all tasks are stored or none" in refused.json()["detail"]
    assert listed(shared, "atomic") == {}
    stored = shared.ask("POST", f"{BATCH}?atomic=true", tasks, {"Idempotency-Key": "atomic"})
    assert [place["id"] for place in stored.json()["tasks"]] == [listed(shared, "atomic")[t["name"]] for t in tasks]
    again = shared.ask("POST", f"{BATCH}?atomic=true", tasks, {"Idempotency-Key": "atomic"})
    assert again.body == stored.body
    assert shared.ask("POST", f"{BATCH}?atomic=yes", tasks).status == 400


def test_a_key_stands_for_the_whole_batch(shared):
    tasks = [named(f"keyed{n}", GOOD if n % 5 else BAD) for n in range(400)]
    first = shared.ask("POST", BATCH, tasks, {"Idempotency-Key": "k"})
    again = shared.ask("POST", BATCH, tasks, {"Idempotency-Key": "k"})
    assert (first.status, again.body) == (200, first.body)
    assert len(listed(shared, "keyed")) == 320
    for body, more in ((tasks[:-1], ""), (tasks, "?atomic=true")):
        other = shared.ask("POST", BATCH + more, body, {"Idempotency-Key": "k"})
        assert other.status == 422
    assert shared.ask("POST", "/v1/tasks", GOOD, {"Idempotency-Key": "k"}).status == 422
    assert shared.ask("POST", BATCH, [GOOD], {"Idempotency-Key": "\x7f"}).status == 400


def test_two_who_send_the_same_batch_at_once_store_it_once(shared):
    tasks = [named(f"twice{n}") for n in range(600)]
    answers = []
    both = [
        threading.Thread(
            target=lambda: answers.append(shared.ask("POST", BATCH, tasks, {"Idempotency-Key": "twice"}).json())
        )
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert answers[0] == answers[1]
    assert sorted(listed(shared, "twice").values()) == [place["id"] for place in answers[0]["tasks"]]


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.sampled_from(["good", "bad", "nothing", "half", "text", "twice", "nul", "callback"]), min_size=1, max_size=40
    )
)
def test_of_whatever_comes_exactly_the_good_ones_exist(shared, kinds):
    raws = {
        "bad": json.dumps(BAD),
        "nothing": "null",
        "half": '{"executors": [',
        "text": '"executors"',
        "twice": '{"name": "a", "name": "b", "executors": [{"image": "a", "command": ["b"]}]}',
        "nul": '{"name": "\\u0000", "executors": [{"image": "a", "command": ["b"]}]}',
        "callback": json.dumps(GOOD | {"callback_url": 5}),
    }
    before = shared.get("/v1/tasks?page_size=2000").json()["tasks"]
    body = "\n".join(raws.get(kind) or json.dumps(GOOD) for kind in kinds)
    answer = shared.ask("POST", BATCH, body.encode(), LINES)
    places = answer.json()["tasks"]
    assert ["good" if "id" in place else "bad" for place in places] == [
        "good" if kind == "good" else "bad" for kind in kinds
    ]
    assert answer.status == (200 if "good" in kinds else 400)
    made = [place["id"] for place in places if "id" in place]
    assert all(map(is_id, made))
    newest = [task["id"] for task in shared.get("/v1/tasks?page_size=2000").json()["tasks"]]
    assert newest[: len(made)] == made[::-1]
    assert {*newest} >= {task["id"] for task in before[: 2000 - len(made)]}
    assert len(newest) == min(2000, len(before) + len(made))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b"[" * 100_000, 400),
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b'[{"a":' * 50_000 + b"1" + b"}]" * 50_000, 400),
        (b'{"tasks":[{}],"tasks":[{}]}', 400),
        (b'{"tasks":[{}],"atomic":true}', 400),
        (b'{"tasks":[{}]', 400),
        (b'{"tasks":[{}]} {}', 400),
        (b'[{"executors": [{"image": "debian", "command": ["true"]}]}', 400),
        (b"\xff\xfe[]", 400),
        (b'[{"name": "\xff"}]', 400),
        (b"[" + b"1," * 1_000_000 + b"1]", 413),
        (b"[" + b"1," * 5_000_000 + b"1]", 413),
        (b'[{"name": "' + b"x" * (9 * 1024 * 1024) + b'"}]', 413),
        (b"[" + b" " * (65 * 1024 * 1024) + b"]", 413),
    ],
)
def test_what_is_no_batch_is_refused_whole(shared, body, status):
    answer = shared.ask("POST", BATCH, body, JSON)
    assert answer.status == status, answer
    assert answer.json()["detail"]
    assert shared.get("/readyz").status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\n" * 5_000_000, 400),
        (b" " * 5_000_000, 400),
        (b"{}\n" * 1_000_000, 413),
        (b"\n\xff\n", 400),
        (b"[" * 100_000 + b"\n", 400),
        (b'{"executors": [{"image": "debian", "comm', 400),
    ],
)
def test_what_are_no_lines_of_tasks_is_refused(shared, body, status):
    answer = shared.ask("POST", BATCH, body, LINES)
    assert answer.status == status, answer
    assert shared.get("/readyz").status == 200


def test_a_line_that_is_no_task_harms_no_other(shared):
    body = b"\xef\xbb\xbf" + json.dumps(named("bom")).encode() + b"\r\n\r\n  \n[" * 3 + b'{"a"\n\xff\n' + lines([GOOD])
    answer = shared.ask("POST", BATCH, body, LINES)
    places = ["id" in place for place in answer.json()["tasks"]]
    assert (places[0], places[-1], sum(places)) == (True, True, 2)


def test_how_tasks_are_sent_is_looked_at(shared):
    body = json.dumps([GOOD]).encode()
    assert shared.ask("POST", BATCH, body, {"Content-Type": "text/plain"}).status == 415
    assert shared.ask("POST", BATCH, body).status == 415
    assert shared.ask("POST", BATCH, body, JSON | {"Content-Encoding": "gzip"}).status == 415
    assert shared.ask("GET", BATCH).status == 405


def test_nonsense_is_not_answered_with_a_hundred_times_its_bytes(shared):
    many = json.dumps({"executors": [{"image": 1, "command": [1] * 90}]}).encode() + b"\n"
    answer = shared.ask("POST", BATCH, many * 500, LINES)
    assert len(answer.json()["tasks"]) == 500
    assert len(answer.body) < 500_000


class Ration:
    """A store that takes so many tasks, and then no more until it is told."""

    def __init__(self, store, ration):
        self._store = store
        self.ration = ration

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def create_all(self, news):
        self.ration -= len(news)
        if self.ration < 0:
            raise Overloaded("enough", retry_after_seconds=1)
        return await self._store.create_all(news)


def test_what_was_stored_is_told_and_the_rest_may_be_sent_again(tmp_path):
    stores = []
    with fake.serve(tmp_path, wrap=lambda store: stores.append(Ration(store, 600)) or stores[0]) as served:
        tasks = [named(f"some{n}") for n in range(1000)]
        some = served.ask("POST", BATCH, tasks, {"Idempotency-Key": "some"}).json()["tasks"]
        stored = [place["id"] for place in some if "id" in place]
        assert sorted(listed(served, "some").values()) == stored
        assert len(stored) == 512
        assert {place["error"]["status"] for place in some if "error" in place} == {429}
        nothing = served.ask("POST", BATCH, tasks[:3])
        assert (nothing.status, nothing.headers["retry-after"]) == (429, "1")
        stores[0].ration = 1000
        whole = served.ask("POST", BATCH, tasks, {"Idempotency-Key": "some"}).json()["tasks"]
        there = listed(served, "some")
        assert [place["id"] for place in whole] == [there[task["name"]] for task in tasks]
        assert {*stored} <= {*there.values()}


class Watched:
    """A store that knows how many tasks are under way at once."""

    def __init__(self, store):
        self._store = store
        self._now = self.most = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def create_all(self, news):
        self._now += len(news)
        self.most = max(self.most, self._now)
        try:
            return await self._store.create_all(news)
        finally:
            self._now -= len(news)


def test_batches_have_few_tasks_under_way_however_many_there_are(tmp_path):
    stores = []
    with fake.serve(tmp_path, wrap=lambda store: stores.append(Watched(store)) or stores[0]) as served:
        body = lines([GOOD] * 2000)
        senders = [threading.Thread(target=served.ask, args=("POST", BATCH, body, LINES)) for _ in range(3)]
        for one in senders:
            one.start()
        for one in senders:
            one.join()
        assert 512 <= stores[0].most <= 1024
        assert b"tesk_submissions_total 6000\n" in served.get("/metrics").body


def test_a_limit_that_is_set_holds(tmp_path):
    plain = Settings()
    few = replace(
        plain,
        limits=replace(plain.limits, batch_tasks=3),
        server=replace(plain.server, batch_body_limit_bytes=1000, body_limit_bytes=200),
    )
    with fake.serve(tmp_path, few) as served:
        assert served.ask("POST", BATCH, [GOOD] * 3).status == 200
        assert "limits.batch_tasks" in served.ask("POST", BATCH, [GOOD] * 4).json()["detail"]
        assert "server.batch_body_limit_bytes" in served.ask("POST", BATCH, [named("x" * 1000)]).json()["detail"]
        one = served.ask("POST", BATCH, [GOOD, named("x" * 300)]).json()["tasks"][1]["error"]
        assert (one["status"], "server.body_limit_bytes" in one["detail"]) == (413, True)
        said = served.get("/tesk/v1/service-info").json()
        assert said["batch"] is said["cancel_by_filter"] is True
        assert (said["limits"]["batch_tasks"], said["limits"]["batch_body_bytes"]) == (3, 1000)


def test_moves_are_told_to_the_url_of_each_or_that_of_all(tmp_path):
    subscribe = Subscribe(at_home(Settings().callbacks))
    with fake.serve(tmp_path, subscribe=subscribe) as served:
        own = GOOD | {"callback_url": "http://127.0.0.1:9999/own"}
        refused = GOOD | {"callback_url": "http://10.0.0.1/"}
        header = {"TESK-Callback-URL": "http://127.0.0.1:9999/all"}
        places = served.ask("POST", BATCH, [GOOD, own, refused], header).json()["tasks"]
        urls = [served.get(f"/tesk/v1/tasks/{place['id']}").json()["callback_url"] for place in places if "id" in place]
        assert urls == ["http://127.0.0.1:9999/all", "http://127.0.0.1:9999/own"]
        assert places[2]["error"]["problems"][0]["path"] == "callback_url"
