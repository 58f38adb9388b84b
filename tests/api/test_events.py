"""Streams of events over real sockets: who is told of what, from where on, and what becomes of who does not read."""

import json
import socket
import time

import pytest
from msgspec.structs import replace

from fakes.following import following
from fakes.served import serve, until
from tesk.api.hashing import hash_secret
from tesk.settings import AuthSettings, Settings, Token

TASK = {"executors": [{"image": "debian", "command": ["true"]}]}
CANCELED = ["QUEUED", "CANCELING", "CANCELED"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    plain = Settings()
    lively = replace(plain, server=replace(plain.server, heartbeat_seconds=0.2))
    with serve(tmp_path_factory.mktemp("served"), lively) as server:
        yield server


def submit(served, headers=None, **more):
    return served.ask("POST", "/v1/tasks", TASK | more, headers).json()["id"]


def cancel(served, task, headers=None):
    assert served.ask("POST", f"/v1/tasks/{task}:cancel", headers=headers).status == 200


def lived(task):
    return [(task, state) for state in CANCELED]


def place(text):
    return int(text.partition("-")[0])


def test_each_state_of_each_task_comes_as_it_happens(served):
    with following(served.url) as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        first, second = submit(served), submit(served)
        assert stream.states(2) == [(first, "QUEUED"), (second, "QUEUED")]
        cancel(served, second)
        cancel(served, first)
        assert stream.states(4) == lived(second)[1:] + lived(first)[1:]


def test_an_event_says_what_a_callback_says(served):
    with following(served.url) as stream:
        task = submit(served)
        cancel(served, task)
        told = [stream.next()[1] for _ in range(3)]
    assert [one["sequence"] for one in told] == [1, 2, 3]
    assert [one["previous_state"] for one in told] == [None, "QUEUED", "CANCELING"]
    assert set(told[0]) == {"id", "state", "time", "sequence", "previous_state", "attempt"}


def test_who_was_cut_off_goes_on_at_the_next_event(served):
    with following(served.url) as stream:
        task = submit(served)
        stream.states(1)
        last = stream.last_id
    cancel(served, task)
    with following(served.url, last_id=last) as stream:
        assert stream.states(2) == lived(task)[1:]
    with following(served.url, f"/tesk/v1/events?after={last}&task={task}") as stream:
        assert stream.states(2) == lived(task)[1:]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("state=CANCELED&state=CANCELING", {"states": ["CANCELED", "CANCELING"]}),
        ("name_prefix=align-", {"name_prefix": "align-"}),
        ("tag_key=run&tag_value=7", {"tags": {"run": "7"}}),
        ("tag_key=run", {"tags": {"run": None}}),
    ],
)
def test_a_stream_is_of_what_was_asked_for(served, query, wanted):
    with (
        following(served.url, f"/tesk/v1/events?{query}") as asked,
        following(served.url, wanted=wanted) as posted,
    ):
        submit(served, name="sort-1", tags={"walk": "7"})
        mine = submit(served, name="align-1", tags={"run": "7"})
        cancel(served, mine)
        expected = lived(mine)[1:] if "state" in query else lived(mine)
        assert asked.states(len(expected)) == expected
        assert posted.states(len(expected)) == expected
        begin = asked.last_id
    # The same from the table, where nobody has handed it on.
    with following(served.url, f"/tesk/v1/events?{query}", last_id="0") as late:
        told = []
        while late.last_id != begin:
            told += late.states(1)
        assert told[-len(expected) :] == expected


def test_the_whole_life_of_many_tasks_comes_on_one_stream(served):
    stored = served.ask("POST", "/tesk/v1/tasks:batch", {"tasks": [TASK] * 1203}).json()["tasks"]
    tasks = [one["id"] for one in stored]
    for task in tasks[:3]:
        cancel(served, task)
    with following(served.url, wanted={"tasks": [*tasks, "nobody"], "after": "0"}) as stream:
        past = stream.states(1203 + 6)
        for task in tasks[:3]:
            assert [one for one in past if one[0] == task] == lived(task)
        cancel(served, tasks[-1])
        assert stream.states(2) == lived(tasks[-1])[1:]
        last = stream.last_id
    cancel(served, tasks[-2])
    with following(served.url, wanted={"tasks": tasks}, last_id=last) as stream:
        assert stream.states(2) == lived(tasks[-2])[1:]


def test_a_stream_on_which_nothing_happens_lives_and_moves_on(served):
    task = submit(served)
    with following(served.url, f"/tesk/v1/events?task={task}") as stream:
        before = place(stream.beat())
        submit(served)
        while place(stream.beat()) <= before:
            pass


def test_the_stream_of_one_task_ends_behind_its_end(served):
    task = submit(served)
    path = f"/tesk/v1/tasks/{task}/events"
    with following(served.url, path, accept="text/event-stream") as stream:
        assert stream.states(1) == [(task, "QUEUED")]
        cancel(served, task)
        assert stream.states(2) == lived(task)[1:]
        last = stream.last_id
        assert stream.next() == ("end", {})
        assert stream.next() == (None, None)
    with following(served.url, path, accept="text/event-stream", last_id=last) as stream:
        assert stream.next() == ("end", {})
        assert stream.next() == (None, None)
    shown = served.get(path).json()["events"]
    assert [one["state"] for one in shown] == CANCELED
    assert served.get("/tesk/v1/tasks/01m89d3s3k7apx8s1fdy6wtrf1/events").status == 404


def test_nobody_hears_of_tasks_of_others(tmp_path):
    tokens = tuple(
        Token(name=name, token_hash=hash_secret(name * 8, "token"), admin=name == "eve")
        for name in ("ann", "ben", "eve")
    )
    ann, ben, eve = ({"Authorization": f"Bearer {name * 8}"} for name in ("ann", "ben", "eve"))
    with serve(tmp_path, Settings(auth=AuthSettings(tokens=tokens))) as served:
        with following(served.url, **ann) as hers, following(served.url, **eve) as all_of_them:
            his = submit(served, ben)
            with following(served.url, wanted={"tasks": [his], "after": "0"}, **ann) as curious:
                own = submit(served, ann)
                cancel(served, his, ben)
                cancel(served, own, ann)
                assert hers.states(3) == lived(own)
                assert all_of_them.states(6)[0] == (his, "QUEUED")
            with following(served.url, wanted={"tasks": [his, own], "after": "0"}, **ann) as curious:
                assert curious.states(3) == lived(own)
        assert served.ask("GET", f"/tesk/v1/tasks/{his}/events", headers=ann).status == 404
        assert served.get("/tesk/v1/events").status == 401


def test_a_place_of_which_nothing_is_known_is_said_to_be_one(served):
    submit(served)
    with following(served.url, last_id="999999999") as stream:
        kind, data = stream.next()
        assert kind == "gap"
        assert data["after"] == 999999999
        task = submit(served)
        assert stream.states(1) == [(task, "QUEUED")]


def test_who_is_cut_off_before_anything_has_happened_knows_where_they_were(served):
    late = "/tesk/v1/events?name_prefix=late"
    with following(served.url, late) as stream:
        last = stream.beat()
    task = submit(served, name="late")
    with following(served.url, late, last_id=last) as stream:
        assert stream.states(1) == [(task, "QUEUED")]


def test_who_comes_from_what_a_backup_has_lost_is_told_and_misses_nothing_new(tmp_path):
    with serve(tmp_path) as served:
        kept = submit(served)
        with following(served.url, f"/tesk/v1/events?task={kept}&after=0") as stream:
            stream.states(1)
            before = stream.last_id
        served.run(served.store.backup(str(tmp_path / "backup.db")))
        with following(served.url, last_id=before) as stream:
            lost = [submit(served) for _ in range(3)]
            stream.states(3)
            after = stream.last_id
    for each in ("tesk.db-wal", "tesk.db-shm"):
        (tmp_path / each).unlink(missing_ok=True)
    (tmp_path / "backup.db").replace(tmp_path / "tesk.db")
    with serve(tmp_path) as served:
        with following(served.url, last_id=after) as stream:
            assert stream.next()[0] == "gap"  # beyond all that there is
        first = submit(served)
        for _ in range(4):
            submit(served)
        with following(served.url, last_id=before) as stream:
            assert stream.states(1) == [(first, "QUEUED")]
        with following(served.url, last_id=after) as stream:
            assert stream.next()[0] == "gap"  # another event stands there now
            assert place(stream.last_id) > place(after)
            cancel(served, kept)
            assert stream.states(2) == lived(kept)[1:]
        one = following(served.url, f"/tesk/v1/tasks/{kept}/events", accept="text/event-stream", last_id=after)
        with one as stream:
            assert stream.states(3) == lived(kept)
            assert stream.next() == ("end", {})
        assert lost[0] not in [task["id"] for task in served.get("/v1/tasks").json()["tasks"]]


def test_how_long_somebody_follows_says_nothing_of_how_quick_the_server_is(tmp_path):
    plain = Settings()
    lively = replace(plain, server=replace(plain.server, heartbeat_seconds=0.1))
    with serve(tmp_path, lively) as served:
        began = time.perf_counter()
        with following(served.url) as stream:
            answered = time.perf_counter()
            for _ in range(4):
                stream.beat()

        def counted():
            lines = served.get("/metrics").body.decode().splitlines()
            name = 'tesk_http_request_duration_seconds_sum{route="/tesk/v1/events"} '
            return [float(line.removeprefix(name)) for line in lines if line.startswith(name)]

        until(counted)
        assert counted()[0] <= answered - began


@pytest.mark.parametrize(
    ("query", "wanted", "named"),
    [
        ("after=soon", None, "after"),
        ("state=DONE", None, "state"),
        ("", {"states": ["DONE"]}, "states[0]"),
        ("", {"task": ["x"]}, ""),
        ("", {"tasks": ["x"] * 10_001}, "tasks"),
        ("", {"after": "-1"}, "after"),
        ("after=7-x", None, "after"),
    ],
)
def test_what_is_wrong_is_named(served, query, wanted, named):
    answer = served.ask("GET" if wanted is None else "POST", f"/tesk/v1/events?{query}", wanted)
    assert answer.status == 400
    assert answer.json()["problems"][0]["path"] == named


def test_more_streams_than_the_settings_allow_are_asked_to_come_later(tmp_path):
    plain = Settings()
    with (
        serve(tmp_path, replace(plain, server=replace(plain.server, streams_limit=1))) as served,
        following(served.url) as stream,
    ):
        answer = served.get("/tesk/v1/events")
        assert answer.status == 503
        assert "server.streams_limit" in answer.json()["detail"]
        task = submit(served)
        assert stream.states(1) == [(task, "QUEUED")]


def test_who_does_not_read_is_cut_off_and_holds_up_nobody(tmp_path):
    plain = Settings()
    impatient = replace(plain, server=replace(plain.server, slow_seconds=0.3, heartbeat_seconds=0.2))
    with serve(tmp_path, impatient) as served, following(served.url, "/tesk/v1/events?state=QUEUED") as reader:
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(b"GET /tesk/v1/events?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            submitted = 0
            while b"dropped_total 1" not in served.get("/metrics").body:
                batch = served.ask("POST", "/tesk/v1/tasks:batch", {"tasks": [TASK] * 500})
                assert batch.status == 200
                submitted += 500
                assert len(reader.states(500)) == 500
                assert submitted < 100_000
        assert b"tesk_event_streams 1" in served.get("/metrics").body


def test_the_end_of_the_server_ends_its_streams(tmp_path):
    with serve(tmp_path) as served, following(served.url) as stream:
        task = submit(served)
        assert stream.states(1) == [(task, "QUEUED")]
        served.run(served.close_down())
        assert stream.next() == (None, None)


def test_a_page_of_a_browser_may_say_where_it_was(tmp_path):
    plain = Settings()
    shared = replace(plain, server=replace(plain.server, cors_origins=("https://portal.example.org",)))
    with serve(tmp_path, shared) as served:
        answer = served.ask("OPTIONS", "/tesk/v1/events", headers={"Origin": "https://portal.example.org"})
        assert "last-event-id" in json.dumps(answer.headers).lower()
