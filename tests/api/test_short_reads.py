"""What is asked again and again on a connection, with the same head: answered as ever, only sooner."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from api.test_short_way import PATH, Line, body, post
from fakes import served as fake
from tesk.api.hashing import hash_secret
from tesk.errors import Unavailable
from tesk.settings import AuthSettings, Settings, Token


def ask(target=PATH, method="GET", **headers):
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    return "\r\n".join(
        [*lines, *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()), "", ""]
    ).encode()


def test_who_polls_sees_each_change_and_each_answer_is_as_the_first(served):
    with Line(served) as line, Line(served) as other:
        task_id = other.ask(post())[2]["id"]
        for view in ("MINIMAL", "BASIC", "FULL"):
            before = [line.ask(ask(f"{PATH}/{task_id}?view={view}")) for _ in range(3)]
            assert before[0] == before[1] == before[2]
            assert (before[0][0], before[0][2]["state"]) == (200, "QUEUED")
        lists = [line.ask(ask(f"{PATH}?view=FULL")) for _ in range(3)]
        assert lists[0] == lists[1] == lists[2]
        requests = served.state.total_requests
        assert line.ask(ask(f"{PATH}?view=FULL")) == lists[0]
        assert served.state.total_requests == requests
        second = other.ask(post(body("two")))[2]["id"]
        assert [task["id"] for task in line.ask(ask(f"{PATH}?view=FULL"))[2]["tasks"]] == [second, task_id]
        assert served.ask("POST", f"{PATH}/{task_id}:cancel").status == 200
        assert [task["state"] for task in line.ask(ask(f"{PATH}?view=FULL"))[2]["tasks"]] == ["QUEUED", "CANCELED"]
    counted = served.get("/metrics").body.decode()
    assert 'tesk_http_requests_total{route="/tasks",method="GET",code="200"} 6' in counted
    assert 'tesk_http_requests_total{route="/tasks/{id}",method="GET",code="200"} 9' in counted


def test_who_submits_and_polls_in_turn_has_both_short_ways(served):
    with Line(served) as line:
        for _ in range(2):
            assert line.ask(post())[0] == line.ask(ask())[0] == 200
        requests = served.state.total_requests
        for count in range(3, 6):
            assert line.ask(post())[0] == 200
            assert len(line.ask(ask())[2]["tasks"]) == count
        assert served.state.total_requests == requests


def test_each_is_shown_their_own_over_the_same_connection(tmp_path):
    tokens = tuple(Token(name=name, token_hash=hash_secret(name * 10, "token")) for name in ("ann", "ben"))
    with fake.serve(tmp_path, replace(Settings(), auth=AuthSettings(tokens=tokens))) as served, Line(served) as line:
        ids = {name: line.ask(post(Authorization=f"Bearer {name * 10}"))[2]["id"] for name in ("ann", "ben")}
        for name in ("ann", "ann", "ben", "ben", "ann", "ben"):
            token = f"Bearer {name * 10}"
            assert [task["id"] for task in line.ask(ask(Authorization=token))[2]["tasks"]] == [ids[name]]
            for owner, task_id in ids.items():
                status = 200 if owner == name else 404
                assert [line.ask(ask(f"{PATH}/{task_id}", Authorization=token))[0] for _ in range(2)] == [status] * 2
        assert line.ask(ask())[0] == 401


@pytest.mark.parametrize("headers", [{"Transfer-Encoding": "chunked"}, {"Content-Length": "5"}])
def test_a_body_of_a_read_is_never_taken_for_a_request(served, headers):
    chunk = b"5\r\nhello\r\n0\r\n\r\n" if "Transfer-Encoding" in headers else b"hello"
    with Line(served) as line:
        for _ in range(3):
            line.send(ask(**headers))
            line.send(chunk)
            assert line.answer()[0] == 200
        assert line.ask(ask())[0] == 200


def test_a_head_is_answered_without_a_body_however_often(served):
    with Line(served) as line:
        for _ in range(3):
            line.send(ask(method="HEAD"))
            head, _ = line._until(b"\r\n\r\n")
            line._rest = b""
            assert head.startswith(b"HTTP/1.1 200")
        assert line.ask(ask())[0] == 200


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(st.sampled_from(("task", "list", "full", "wrong", "none")), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 300), max_size=12),
)
def test_however_the_bytes_are_cut_each_request_gets_its_answer_in_order(shared, asked, cuts):
    what = {
        "task": (post(), 200),
        "list": (ask(), 200),
        "full": (ask(f"{PATH}?view=FULL&page_size=1"), 200),
        "wrong": (ask(f"{PATH}?view=ALL"), 400),
        "none": (ask(f"{PATH}/none"), 404),
    }
    data = b"".join(what[each][0] for each in ("list", *asked))
    with Line(shared) as line:
        line.ask(ask())
        for cut in cuts:
            line.send(data[:cut])
            data = data[cut:]
        line.send(data)
        assert [line.answer()[0] for _ in ("list", *asked)] == [200, *(what[each][1] for each in asked)]


class Held:
    """A store whose marks are slow to come, and then there or not."""

    def __init__(self, store):
        self._store = store
        self.fail = False

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def list(self, query):
        if self.fail:
            raise Unavailable("the database is gone", retry_after_seconds=7)
        return await self._store.list(query)


def test_a_database_that_is_gone_is_503_and_when_it_is_back_all_is_well(tmp_path):
    stores = []
    with (
        fake.serve(tmp_path, wrap=lambda store: stores.append(Held(store)) or stores[0]) as served,
        Line(served) as line,
    ):
        for fail, status in ((False, 200), (False, 200), (True, 503), (False, 200)):
            stores[0].fail = fail
            assert line.ask(ask())[0] == status
