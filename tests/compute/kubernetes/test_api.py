"""The client's patience and its words, against an API server that misbehaves."""

import asyncio
import contextlib
import logging
import socket

import pytest

from fakes.kubernetes_api import CUT, DONE_AND_CUT, SILENT, Answer, KubernetesApi
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.credentials import Access
from tesk.compute.kubernetes.kubeconfig import Cluster, User
from tesk.compute.kubernetes.objects import Bare, Pod, Rule, path_of
from tesk.compute.kubernetes.refusals import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Unanswered,
    Unauthorized,
)

PODS = path_of("pods", "ns")


@contextlib.asynccontextmanager
async def world(**given):
    async with KubernetesApi().serving() as server:
        access = Access(Cluster(server=server.url), User(token="s3cret"), "ns", environment={})
        async with Api(access, **{"request_seconds": 5.0, **given}) as api:
            yield server, api


def pod(name):
    return {"metadata": {"name": name}, "spec": {}}


def run(body, **given):
    """Run `body(server, api)`."""

    async def whole():
        async with asyncio.timeout(30), world(**given) as (server, api):
            return await body(server, api)

    return asyncio.run(whole())


def test_what_is_created_is_there_until_it_is_deleted():
    async def body(server, api):
        made = await api.create(PODS, pod("a"), Pod)
        assert (await api.get(f"{PODS}/a", Pod)) == made
        changed = await api.patch(f"{PODS}/a", {"metadata": {"labels": {"x": "y"}}}, Bare)
        assert changed.metadata.labels == {"x": "y"}
        await api.delete(f"{PODS}/a", uid=made.metadata.uid)
        with pytest.raises(NotFound, match='pods "a" not found'):
            await api.get(f"{PODS}/a", Pod)
        assert api.calls[Rule("create", "pods")] == 1
        assert api.calls[Rule("get", "pods")] == 2

    run(body)


def test_a_second_create_of_a_name_says_that_it_is_there_already():
    async def body(server, api):
        await api.create(PODS, pod("a"), Pod)
        with pytest.raises(AlreadyExists):
            await api.create(PODS, pod("a"), Pod)

    run(body)


def test_one_of_another_uid_is_not_deleted():
    async def body(server, api):
        await api.create(PODS, pod("a"), Pod)
        with pytest.raises(Conflict):
            await api.delete(f"{PODS}/a", uid="another")
        assert len(server.objects) == 1

    run(body)


@pytest.mark.parametrize(
    "fault",
    [Answer(429, "busy", headers={"Retry-After": "0"}), Answer(503), Answer(500, "etcdserver: leader changed"), CUT],
)
def test_what_is_asked_is_asked_again_where_the_server_is_busy_or_breaks(fault):
    async def body(server, api):
        server.put("pods", "ns", "a")
        server.next(fault, fault)
        assert (await api.get(f"{PODS}/a", Pod)).metadata.name == "a"
        assert len(server.requests) == 3

    run(body)


def test_a_server_that_names_a_time_is_left_alone_so_long():
    async def body(server, api):
        server.put("pods", "ns", "a")
        server.next(Answer(429, "busy", headers={"Retry-After": "1"}))
        began = asyncio.get_running_loop().time()
        await api.get(f"{PODS}/a", Pod)
        assert asyncio.get_running_loop().time() - began >= 1.0

    run(body)


def test_a_server_that_wants_to_be_left_alone_for_longer_than_we_wait_is_not_waited_for():
    async def body(server, api):
        server.next(Answer(429, "busy", headers={"Retry-After": "60"}))
        with pytest.raises(Unanswered, match="busy, it answers 429: busy") as caught:
            await api.create(PODS, pod("a"), Pod)
        assert (caught.value.retry_after_seconds, caught.value.maybe_done) == (60.0, False)

    run(body)


def test_a_create_that_got_no_answer_is_not_sent_twice():
    async def body(server, api):
        server.next(DONE_AND_CUT)
        with pytest.raises(Unanswered) as caught:
            await api.create(PODS, pod("a"), Pod)
        assert caught.value.maybe_done
        assert len(server.asked("POST")) == 1
        with pytest.raises(AlreadyExists):
            await api.create(PODS, pod("a"), Pod)

    run(body)


def test_two_creates_that_meet_at_a_quota_are_tried_again():
    async def body(server, api):
        server.next(
            Answer(409, "Operation cannot be fulfilled on resourcequotas: the object has been modified", "Conflict")
        )
        assert (await api.create(PODS, pod("a"), Pod)).metadata.name == "a"

    run(body)


def test_a_quota_that_is_used_up_is_told_from_what_is_not_allowed():
    async def body(server, api):
        server.next(
            Answer(403, 'pods "a" is forbidden: exceeded quota: few, requested: pods=1, used: pods=2', "Forbidden")
        )
        server.next(Answer(403, 'pods is forbidden: User "x" cannot create resource "pods"', "Forbidden"))
        with pytest.raises(Forbidden, match="exceeded quota: few") as caught:
            await api.create(PODS, pod("a"), Pod)
        assert caught.value.quota
        with pytest.raises(Forbidden, match="cannot create") as caught:
            await api.create(PODS, pod("a"), Pod)
        assert not caught.value.quota

    run(body)


def test_what_is_wrong_with_an_object_is_said_in_the_words_of_the_server():
    async def body(server, api):
        server.next(Answer(422, 'Pod "a" is invalid: spec.containers: Required value', "Invalid"))
        with pytest.raises(Invalid, match="Required value"):
            await api.create(PODS, pod("a"), Pod)

    run(body)


def test_a_server_that_is_not_there_is_named_in_a_sentence():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

        async def body():
            access = Access(Cluster(server=f"http://127.0.0.1:{port}"), User(token="s3cret"), "ns", environment={})
            async with Api(access, request_seconds=0.5) as api:
                with pytest.raises(
                    Unanswered, match=rf"the API server of the cluster \(http://127.0.0.1:{port}\) does not answer: "
                ) as caught:
                    await api.get(f"{PODS}/a", Pod)
            assert not caught.value.maybe_done
            assert api.calls.total() > 1

        asyncio.run(body())


def test_a_connection_that_is_only_half_there_is_left_for_another():
    async def body(server, api):
        server.put("pods", "ns", "a")
        server.next(SILENT)
        assert (await api.get(f"{PODS}/a", Pod)).metadata.name == "a"
        assert len(server.requests) == 2

    run(body, request_seconds=1.0)


def test_no_answer_is_waited_for_longer_than_was_said():
    async def body(server, api):
        server.next(SILENT, SILENT, SILENT)
        with pytest.raises(Unanswered, match="it took too long"):
            await api.get(f"{PODS}/a", Pod)

    run(body, request_seconds=0.5)


def test_who_waits_for_a_busy_server_keeps_nobody_else_from_it():
    async def body(server, api):
        server.put("pods", "ns", "a")
        server.next(*[Answer(429, headers={"Retry-After": "2"})] * 100, where="/busy")
        busy = [asyncio.create_task(api.get(f"{PODS}/busy", Pod)) for _ in range(100)]
        await server.until(lambda: len(server.asked(part="busy")) == 100)
        async with asyncio.timeout(1):
            await api.get(f"{PODS}/a", Pod)
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)

    run(body)


def test_a_create_that_was_sent_at_last_may_have_been_done_whatever_came_of_it_before():
    async def body(server, api):
        server.next(Answer(429, "busy"), SILENT)
        with pytest.raises(Unanswered, match="busy") as caught:
            await api.create(PODS, pod("a"), Pod)
        assert caught.value.maybe_done

    run(body, request_seconds=1.0)


def test_an_answer_of_somebody_else_is_no_object():
    async def body(server, api):
        server.next(Answer(200, body=b"<html>Log in</html>"))
        with pytest.raises(Unanswered, match="cannot be read"):
            await api.get(f"{PODS}/a", Pod)
        server.next(Answer(403, body=b"<html>No</html>"))
        with pytest.raises(Forbidden, match="answered 403"):
            await api.get(f"{PODS}/a", Pod)

    run(body)


def test_the_token_does_not_follow_a_redirect():
    async def body(server, api):
        server.next(Answer(302, headers={"Location": "http://127.0.0.1:9/"}))
        with pytest.raises(Exception, match="answered 302"):
            await api.get(f"{PODS}/a", Pod)

    run(body)


def test_no_error_shows_the_token(caplog):
    caplog.set_level(logging.DEBUG)

    async def body(server, api):
        server.token = "another"
        with pytest.raises(Unauthorized) as caught:
            await api.get(f"{PODS}/a", Pod)
        assert "s3cret" not in f"{caught.value!r} {caught.value.__dict__}"

    run(body)
    assert "s3cret" not in caplog.text


def test_a_list_comes_in_pages():
    async def body(server, api):
        for number in range(7):
            server.put("pods", "ns", f"p{number}")
        items, version = await api.list(PODS, Pod, limit=3)
        assert [item.metadata.name for item in items] == [f"p{number}" for number in range(7)]
        assert version == str(server.version)
        assert len(server.requests) == 3

    run(body)


def test_an_empty_list_is_empty():
    async def body(server, api):
        assert await api.list(PODS, Pod) == ([], str(server.version))

    run(body)


def test_a_list_whose_next_page_is_gone_is_begun_again_with_larger_pages():
    async def body(server, api):
        for number in range(20):
            server.put("pods", "ns", f"p{number:02}")
        server.next(*[Answer(410, "The provided continue parameter is too old", "Expired")] * 2, where="continue=")
        items, _ = await api.list(PODS, Pod, limit=3)
        assert len(items) == 20
        assert [query.get("limit") for _, _, query, _ in server.requests] == ["3", "3", "12", "12", None]

    run(body)


def test_a_watch_of_too_long_ago_is_gone_whichever_way_the_server_says_it():
    async def body(server, api):
        server.forget()
        for server.gone_in_the_answer in (True, False):
            with pytest.raises(Gone):
                async for _ in api.watch(PODS, Pod, resource_version="100"):
                    pass

    run(body)


def test_a_watch_tells_what_happens_and_ends_when_the_server_ends_it():
    async def body(server, api):
        async def watch():
            events = api.watch(PODS, Pod, resource_version="100")
            return [(event.type, event.object.metadata.name) async for event in events]

        server.put("pods", "ns", "a", metadata={"annotations": {"large": "x" * 1_000_000}})
        watching = asyncio.create_task(watch())
        await server.watched()
        server.put("pods", "other", "b")
        server.bookmark()
        server.remove("pods", "ns", "a")
        await server.end_watches()
        assert await watching == [("ADDED", "a"), ("BOOKMARK", ""), ("DELETED", "a")]

    run(body)


def test_a_watch_that_is_silent_for_too_long_is_taken_for_broken():
    async def body(server, api):
        with pytest.raises(Unanswered, match="took too long"):
            async for _ in api.watch(PODS, Pod, resource_version="100"):
                pass

    run(body, idle_seconds=0.3)


def test_logs_come_as_they_were_printed():
    async def body(server, api):
        server.logs["ns", "a", "executor-0"] = [b"one\n", b"t\xffo"]
        assert b"".join([piece async for piece in api.logs("ns", "a", "executor-0", tail_lines=1)]) == b"one\nt\xffo"
        assert server.requests[-1][2] == {"container": "executor-0", "tailLines": "1"}
        with pytest.raises(Invalid, match="waiting to start"):
            async for _ in api.logs("ns", "a", "executor-1"):
                pass

    run(body)


def test_many_questions_share_few_connections():
    async def body(server, api):
        server.put("pods", "ns", "a")
        await asyncio.gather(*(api.get(f"{PODS}/a", Pod) for _ in range(300)))
        assert len(server.peers) <= 32

    run(body)
