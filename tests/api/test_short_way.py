"""Tasks that come one after the other on a connection, with the same head: answered as any other, only sooner."""

import asyncio
import json
import threading

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fakes import served as fake
from fakes.served import connect, until
from tesk.api.hashing import hash_secret
from tesk.errors import Unavailable
from tesk.settings import AuthSettings, Settings, Token

PATH = "/ga4gh/tes/v1/tasks"


def body(name="x"):
    return json.dumps({"name": name, "executors": [{"image": "debian", "command": ["true"]}]}).encode()


def post(data=None, **headers):
    data = body() if data is None else data
    lines = [f"POST {PATH} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(data)}", "", ""]).encode() + data


class Line:
    """A connection on which one thing is asked after the other."""

    def __init__(self, served):
        self.socket = connect(served)
        self._rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        """Return status, headers and the body's JSON of one answer."""
        head, body = self._until(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        while len(body) < length:
            body += self._more()
        self._rest = body[length:]
        return int(status.split()[1]), headers, json.loads(body[:length])

    def ask(self, data):
        self.send(data)
        return self.answer()

    def _until(self, mark):
        while mark not in self._rest:
            self._rest += self._more()
        head, _, rest = self._rest.partition(mark)
        return head, rest

    def _more(self):
        piece = self.socket.recv(65536)
        assert piece, "the server closed the connection"
        return piece


def names(served):
    return sorted(task["name"] for task in served.get(f"{PATH}?view=BASIC").json()["tasks"])


def test_a_second_task_on_a_connection_is_answered_like_the_first_and_sooner(served):
    with Line(served) as line:
        first = line.ask(post(body("one")))
        rest = [line.ask(post(body("n" * n))) for n in range(1, 20)]
    assert served.state.total_requests == 1
    assert {status for status, _, _ in (first, *rest)} == {200}
    assert all(headers.keys() == first[1].keys() for _, headers, _ in rest)
    ids = [answer["id"] for _, _, answer in (first, *rest)]
    assert ids == sorted(set(ids))
    assert len(names(served)) == 20
    assert (
        'tesk_http_requests_total{route="/tasks",method="POST",code="200"} 20' in served.get("/metrics").body.decode()
    )


def test_who_comes_over_the_connection_of_another_is_not_taken_for_them(tmp_path):
    tokens = tuple(Token(name=name, token_hash=hash_secret(name * 10, "token")) for name in ("ann", "ben"))
    with fake.serve(tmp_path, replace(Settings(), auth=AuthSettings(tokens=tokens))) as served, Line(served) as line:
        for name, status in (("ann", 200), ("ann", 200), ("ben", 200), ("eve", 401), ("ann", 200), ("ben", 200)):
            assert line.ask(post(body(name), Authorization=f"Bearer {name * 10}"))[0] == status
        assert line.ask(post(body("x")))[0] == 401
        for name, count in (("ann", 3), ("ben", 2)):
            tasks = served.get(f"{PATH}?view=BASIC", Authorization=f"Bearer {name * 10}").json()["tasks"]
            assert [task["name"] for task in tasks] == [name] * count


def test_a_page_of_another_site_is_refused_also_after_a_program_was_let_in(served):
    with Line(served) as line:
        assert line.ask(post())[0] == 200
        assert line.ask(post(Origin="http://evil.example"))[0] == 403
        assert line.ask(post().replace(b"Host: localhost", b"Host: evil.example"))[0] == 403
        assert line.ask(post())[0] == 200
    assert len(names(served)) == 2


def test_what_is_wrong_with_a_task_is_said_as_ever(served):
    with Line(served) as line:
        for _ in range(2):
            assert line.ask(post())[0] == 200
            status, _, answer = line.ask(post(b'{"executors": [{"image": "debian"}]}'))
            assert (status, answer["problems"][0]["path"]) == (400, "executors[0].command")
            assert line.ask(post(b"{"))[0] == 400
        assert line.ask(post(body() + b" " * 100))[0] == 200
        status, _, _ = line.ask(post().replace(b"Content-Length: ", b"Content-Length: +"))
        assert status == 400


def test_a_body_over_the_limit_is_refused_on_a_connection_that_is_known(tmp_path):
    few = replace(Settings(), server=replace(Settings().server, body_limit_bytes=200))
    with fake.serve(tmp_path, few) as served, Line(served) as line:
        assert line.ask(post())[0] == 200
        assert line.ask(post(body("x" * 300)))[0] == 413


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(st.sampled_from(("task", "long", "wrong", "get", "other head")), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 400), max_size=12),
)
def test_however_the_bytes_are_cut_each_request_gets_its_answer_in_order(shared, asked, cuts):
    what = {
        "task": (post(), 200),
        "long": (post(body("n" * 150)), 200),
        "wrong": (post(b"[]"), 400),
        "get": (b"GET /v1/service-info HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        "other head": (post(X="y"), 200),
    }
    data = b"".join(what[each][0] for each in ("task", *asked))
    with Line(shared) as line:
        for cut in cuts:
            line.send(data[:cut])
            data = data[cut:]
        line.send(data)
        assert [line.answer()[0] for _ in ("task", *asked)] == [200, *(what[each][1] for each in asked)]


def test_a_head_within_a_request_that_is_under_way_is_no_request(served):
    with Line(served) as line:
        assert line.ask(post())[0] == 200
        # The first piece ends in the middle of a request; what comes next looks like a task, and is the rest of it.
        line.send(post() + b"GET /livez HTTP/1.1\r\nX: ")
        assert line.answer()[0] == 200
        line.send(post(body("smuggled")))
        assert line.answer()[2] != {}
    assert names(served) == ["x", "x"]


class Held:
    """A store whose database takes its time, and then does it or fails."""

    def __init__(self, store):
        self._store = store
        self.go = threading.Event()
        self.fail = False

    def __getattr__(self, name):
        return getattr(self._store, name)

    def create(self, new):
        return asyncio.ensure_future(self._create(new))

    async def _create(self, new):
        await asyncio.to_thread(self.go.wait)
        if self.fail:
            raise Unavailable("the database is gone", retry_after_seconds=7)
        return await self._store.create(new)


def held(tmp_path, stores):
    def wrap(store):
        stores.append(Held(store))
        stores[0].go.set()
        return stores[0]

    return fake.serve(tmp_path, wrap=wrap)


def test_a_database_that_is_gone_is_503_and_when_it_is_back_all_is_well(tmp_path):
    stores = []
    with held(tmp_path, stores) as served, Line(served) as line:
        assert line.ask(post())[0] == 200
        stores[0].fail = True
        status, headers, answer = line.ask(post())
        assert (status, headers["retry-after"], answer["detail"]) == (503, "7", "the database is gone")
        stores[0].fail = False
        assert line.ask(post())[0] == 200


def test_one_that_waits_too_long_is_503_and_the_next_is_turned_away(tmp_path):
    stores = []
    with held(tmp_path, stores) as served, Line(served) as line:
        assert line.ask(post())[0] == 200
        stores[0].go.clear()
        status, _, answer = line.ask(post())
        assert (status, "may have been stored" in answer["detail"]) == (503, True)
        assert line.ask(post())[0] == 429
        stores[0].go.set()


def test_a_client_that_goes_away_before_its_answer_harms_nobody(tmp_path):
    stores = []
    with held(tmp_path, stores) as served:
        with Line(served) as line:
            assert line.ask(post(body("one")))[0] == 200
            stores[0].go.clear()
            line.send(post(body("two")))
            until(lambda: any(connection._answering for connection in [*served.connections]))
        stores[0].go.set()
        until(lambda: names(served) == ["one", "two"])
        until(lambda: not [each for each in [*served.connections] if each._short is not None])


def test_a_server_that_ends_still_answers_what_is_under_way(tmp_path):
    stores = []
    with held(tmp_path, stores) as served, Line(served) as line:
        assert line.ask(post())[0] == 200
        stores[0].go.clear()
        line.send(post())
        until(lambda: any(connection._answering for connection in [*served.connections]))

        async def end():
            for connection in [*served.connections]:
                connection.shutdown()

        served.run(end())
        stores[0].go.set()
        assert line.answer()[0] == 200
        assert line.socket.recv(1) == b""


def test_a_connection_on_which_nothing_is_asked_any_more_is_closed(served):
    async def look(seconds):
        for connection in [*served.connections]:
            connection.look(asyncio.get_running_loop().time() + seconds)

    with Line(served) as line:
        for _ in range(2):
            assert line.ask(post())[0] == 200
        served.run(look(1))
        assert line.ask(post())[0] == 200
        served.run(look(10))
        assert line.socket.recv(1) == b""
