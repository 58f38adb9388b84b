"""The client against servers of somebody else's and of ours, over real HTTP, plain and asynchronous alike."""

import asyncio
import contextlib
import os
import resource
import socket
import time

import pytest

from fakes.tes_server import FakeTes
from tesk.client import AsyncClient, Client, Patience
from tesk.errors import (
    BadRequest,
    NotEnded,
    NotFound,
    Overloaded,
    RequestError,
    StrangeAnswer,
    Unauthenticated,
    Unreachable,
)
from tesk.tes.state import State
from tesk.tes.task import Executor, Task
from tesk.tes.view import View

TASK = Task(name="x", executors=(Executor(image="debian", command=("true",)),), tags={"a": "1"})
QUICK = Patience(busy=5, gone=0)


class Plain:
    """The plain client, by the verbs of this file."""

    def __init__(self, url, **more):
        self._client = Client(url, **({"patience": QUICK} | more))

    def __call__(self, verb, *args, **more):
        with self._client as client:
            answer = getattr(client, verb)(*args, **more)
            return list(answer) if verb == "list" else answer


class Asynchronous:
    """The asynchronous one, by the same."""

    def __init__(self, url, **more):
        self._client = AsyncClient(url, **({"patience": QUICK} | more))

    def __call__(self, verb, *args, **more):
        async def ask():
            async with self._client as client:
                if verb == "list":
                    return [task async for task in client.list(*args, **more)]
                return await getattr(client, verb)(*args, **more)

        return asyncio.run(ask())


@pytest.fixture(params=[Plain, Asynchronous])
def face(request):
    return request.param


@pytest.fixture
def serve():
    contexts = []

    def start(**more):
        contexts.append(FakeTes(**more).serving())
        return contexts[-1].__enter__()

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


def test_a_task_is_created_seen_and_canceled(face, serve):
    server = serve()
    tes = face(server.url)
    task_id = tes("create", TASK)
    assert tes("get", task_id).state is State.QUEUED
    full = tes("get", task_id, View.FULL)
    assert (full.name, full.executors, full.tags) == ("x", TASK.executors, {"a": "1"})
    tes("cancel", task_id)
    assert tes("wait", task_id).state is State.CANCELED
    assert tes("service_info").type.version == "1.1.0"


@pytest.mark.parametrize("base", ["/ga4gh/tes/v1", "/v1", ""])
def test_the_api_is_found_wherever_it_is(face, serve, base):
    tes = face(serve(base=base).url)
    assert tes("get", tes("create", TASK)).id == "task-1"


def test_a_list_goes_through_all_pages_as_they_are_wanted(face, serve):
    server = serve()
    for number in range(5):
        server.add({"executors": [], "tags": {"n": str(number % 2)}})
    tes = face(server.url)
    assert [task.id for task in tes("list", page_size=2)] == ["task-5", "task-4", "task-3", "task-2", "task-1"]
    assert [task.id for task in tes("list", tags={"n": "1"})] == ["task-4", "task-2"]
    with Client(server.url) as client:
        server.requests.clear()
        next(iter(client.list(page_size=2)))
        assert len(server.requests) == 1


def test_one_connection_carries_many_requests(serve):
    server = serve()
    with Client(server.url) as client:
        for _ in range(5):
            client.service_info()
    assert server.connections == 1


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again(serve):
    server = serve(script=[(200, {"Connection": "close"}, {}), (200, {}, {})])
    with Client(server.url, patience=Patience(busy=0, gone=0)) as client:
        client.service_info()
        client.service_info()


def test_another_servers_task_is_polled_and_never_asked_to_wait(face, serve):
    server = serve(states=["QUEUED", "QUEUED", "RUNNING", "COMPLETE"])
    tes, seen = face(server.url), []
    ended = tes("wait", tes("create", TASK), told=seen.append)
    assert ended.state is State.COMPLETE
    assert seen == ["QUEUED", "RUNNING", "COMPLETE"]
    assert not any("wait=" in target for _, target, _ in server.requests)


def test_our_servers_task_is_waited_for_by_its_etag(face, serve):
    server = serve(tesk=True)
    tes = face(server.url)
    assert tes("wait", tes("create", TASK)).state is State.COMPLETE
    waits = [headers["if-none-match"] for _, target, headers in server.requests if "wait=" in target]
    assert waits == ['"QUEUED"', '"RUNNING"']


def test_a_wait_ends_at_its_timeout_and_says_where_the_task_is(face, serve):
    tes = face(serve(states=["RUNNING"]).url)
    with pytest.raises(NotEnded, match=r"still RUNNING after 0\.3 s"):
        tes("wait", tes("create", TASK), timeout_seconds=0.3)


def test_a_bad_task_is_refused_with_all_problems(face, serve):
    with pytest.raises(BadRequest, match="the task is not right") as caught:
        face(serve().url)("create", {"name": "x"})
    assert [problem.path for problem in caught.value.problems] == ["executors", "inputs[0].path"]


def test_an_unknown_task_is_not_found(face, serve):
    with pytest.raises(NotFound, match="no task nosuch"):
        face(serve().url)("get", "nosuch")


@pytest.mark.parametrize(("status", "kind"), [(401, Unauthenticated), (418, RequestError), (500, RequestError)])
def test_every_answer_that_is_no_success_is_an_error_in_the_servers_words(face, serve, status, kind):
    server = serve(script=[(status, {}, {"msg": "because"})])
    with pytest.raises(kind, match=rf"because \({status}\)"):
        face(server.url)("service_info")


def test_a_busy_server_is_asked_again_after_the_time_that_it_names(face, serve):
    server = serve(script=[(429, {"Retry-After": "1"}, {}), (503, {}, b"<html>")])
    began = time.monotonic()
    assert face(server.url)("create", TASK) == "task-1"
    assert time.monotonic() - began >= 1
    assert len({headers["idempotency-key"] for _, _, headers in server.requests}) == 1


def test_patience_ends(face, serve):
    server = serve(script=[(429, {"Retry-After": "1"}, {"detail": "later"})] * 9)
    with pytest.raises(Overloaded, match="later") as caught:
        face(server.url, patience=Patience(busy=0.5))("create", TASK)
    assert caught.value.retry_after_seconds == 1


def test_a_question_is_asked_again_where_the_connection_broke(face, serve):
    server = serve(script=["reset", "reset"])
    assert face(server.url)("service_info").id == "fake"


def test_a_task_is_sent_again_after_a_break_where_the_server_knows_the_key(face, serve):
    server = serve(tesk=True, script=["store and reset"])
    assert face(server.url)("create", TASK) == "task-1"
    assert len(server.tasks) == 1


def test_a_task_is_not_sent_twice_to_a_server_that_might_run_it_twice(face, serve):
    server = serve(script=["store and reset"])
    with pytest.raises(Unreachable) as caught:
        face(server.url)("create", TASK)
    assert caught.value.sent
    assert len(server.tasks) == 1


def test_a_server_that_is_gone_is_asked_again_as_long_as_patience_lasts(face):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            face(url, patience=Patience(gone=0.5))("service_info")
    assert not caught.value.sent
    assert time.monotonic() - began > 0.1


def test_an_answer_that_is_not_tes_is_said_to_be_none(face, serve):
    server = serve(script=[(200, {}, b"<html>Welcome</html>")])
    with pytest.raises(StrangeAnswer, match="<html>Welcome"):
        face(server.url)("service_info")


def test_nulls_numbers_and_unknown_words_of_other_servers_are_no_error(face, serve):
    logs = [
        {
            "logs": [{"exit_code": None, "stdout": None, "new": 1}],
            "metadata": None,
            "outputs": [{"url": "u", "path": "/p", "size_bytes": 7}],
            "system_logs": None,
        }
    ]
    server = serve(states=["SOMETHING_NEW"], logs=logs)
    task_id = server.add(
        {"executors": [{"image": "a", "command": ["b"], "env": None}], "resources": {"cpu_cores": "2"}}
    )
    task = face(server.url)("get", task_id, View.FULL)
    assert task.state is State.UNKNOWN
    assert task.resources.cpu_cores == 2
    assert task.logs[0].outputs[0].size_bytes == "7"
    assert task.exit_code == 0


def test_a_field_that_makes_no_sense_is_named(face, serve):
    server = serve()
    task_id = server.add({"executors": [{"image": "a", "command": "b"}]})
    with pytest.raises(StrangeAnswer, match=r"executors\[0\]\.command"):
        face(server.url)("get", task_id, View.FULL)


def test_a_process_with_many_open_files_asks_again_on_the_same_connection(serve):
    server = serve()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2048)), hard))
    with contextlib.ExitStack() as files:
        files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1024):
            files.callback(os.close, os.dup(0))
        with Client(server.url) as client:
            client.service_info()
            client.service_info()
    assert server.connections == 1


def test_where_a_server_points_to_is_said(face, serve):
    server = serve(script=[(301, {"Location": "https://elsewhere.example.org/"}, b"")])
    with pytest.raises(RequestError, match=r"\(301\); it points to https://elsewhere"):
        face(server.url)("service_info")
