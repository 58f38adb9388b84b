"""The backend and what others leave or take away: Jobs without pods, copies, pods that nobody saw go, kept pods, lost rights."""

import asyncio

import pytest
from msgspec.structs import replace

from fakes.kubernetes_api import CUT, Answer
from fakes.pod_backend import (
    ATTEMPT,
    NAME,
    PLAN,
    SETTINGS,
    ended,
    known,
    opened,
    show,
    story,
    until,
)
from tesk.compute.backend import AttemptId, Phase, Piece
from tesk.compute.kubernetes.memo import FORGOTTEN, MEMO, VERDICT, Memo, memo, verdict
from tesk.compute.kubernetes.objects import Meta, Pod
from tesk.compute.kubernetes.pods import Pods
from tesk.errors import BackendUnavailable

QUEUE = replace(SETTINGS, queue="batch")


def test_a_job_without_a_pod_is_found_and_goes_when_nobody_wants_it() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        assert (await backend.observe(ATTEMPT)).phase is Phase.WAITING
        async with opened(cluster, QUEUE) as after:
            assert [each async for each in after.existing()] == [ATTEMPT]
            await after.forget(ATTEMPT)
            assert ("jobs", "here", NAME) not in cluster.objects
            assert [each async for each in after.existing()] == []

    story(body, QUEUE)


def test_the_job_of_a_pod_that_is_kept_for_people_is_left() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        labels = cluster.objects["jobs", "here", NAME]["metadata"]["labels"]
        cluster.put("pods", "here", f"{NAME}-x7k2p", metadata={"labels": labels, "annotations": {FORGOTTEN: "1"}})
        async with opened(cluster, replace(QUEUE, keep_seconds=1000)) as after:
            assert [each async for each in after.existing()] == []

    story(body, replace(QUEUE, keep_seconds=1000))


def test_a_server_that_does_not_have_a_task_says_why_it_waits_as_well() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        async with opened(cluster) as other:
            show(cluster, "unschedulable")
            seen = await until(backend, lambda seen: seen.waiting is not None)
            await known(other, lambda pod: bool(pod.status.conditions))
            assert other.waiting(ATTEMPT) == backend.waiting(ATTEMPT) == seen.waiting

    story(body)


def test_a_job_of_that_name_that_is_anothers_is_nothing_of_ours() -> None:
    async def body(cluster, backend):
        cluster.put("jobs", "here", NAME, metadata={"labels": {}})
        assert (await backend.observe(ATTEMPT)).phase is Phase.ABSENT

    story(body, QUEUE)


def test_rights_that_went_are_waited_for_at_every_look() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        no = Answer(403, 'jobs.batch is forbidden: User "us" cannot get resource "jobs"', "Forbidden")
        cluster.next(no, where="GET /apis/batch")
        with pytest.raises(BackendUnavailable, match="cannot get"):
            await backend.observe(ATTEMPT)
        cluster.next(no, where="DELETE /apis/batch")
        with pytest.raises(BackendUnavailable, match="cannot get"):
            await backend.stop(ATTEMPT, 1)
        cluster.next(no, where="GET /apis/batch")
        with pytest.raises(BackendUnavailable, match="cannot get"):
            [each async for each in backend.existing()]

    story(body, QUEUE)


def test_a_pod_that_went_between_two_calls_is_made_at_the_next_try() -> None:
    async def body(cluster, backend):
        cluster.next(
            Answer(409, f'pods "{NAME}" already exists', "AlreadyExists"), where="POST /api/v1/namespaces/here/pods?"
        )
        with pytest.raises(BackendUnavailable, match="not found"):
            await backend.start(ATTEMPT, PLAN)
        await backend.start(ATTEMPT, PLAN)
        assert ("secrets", "here", NAME) in cluster.objects

    story(body)


def test_a_copy_of_a_pod_with_all_its_labels_is_not_taken_for_it() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        pod = cluster.objects["pods", "here", NAME]
        other = AttemptId("task2", 1)
        cluster.put("pods", "here", "a-copy", metadata=dict(pod["metadata"], name="a-copy", uid="another"))
        await backend.start(other, PLAN)
        await known(backend, lambda pod: pod.metadata.uid, other)
        while backend._pods.get(other).unseen_since is not None:  # what came before it was told of, too
            await backend._pods.news(other)
        assert backend._pods.get(ATTEMPT).pod.metadata.uid == pod["metadata"]["uid"]

    story(body)


def test_a_pod_that_came_and_went_unseen_is_absent_in_the_end() -> None:
    async def body(cluster, backend):
        await cluster.watched()
        backend._loops[0].cancel()  # nobody hears what happens meanwhile
        await cluster.until(lambda: not cluster.watchers)
        await backend.start(ATTEMPT, PLAN)
        assert (await backend.observe(ATTEMPT)).phase is Phase.WAITING
        cluster.remove("pods", "here", NAME)
        assert (await backend.observe(ATTEMPT)).phase is Phase.ABSENT

    story(body, unseen_seconds=0.0)


def test_a_follower_of_a_stream_ends_with_the_attempt_that_is_forgotten() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        follower = asyncio.create_task(anext(aiter(backend.logs(ATTEMPT, 0, stream="stdout", follow=True)), None))
        await asyncio.sleep(0)
        assert backend._pods._waiters
        backend._pods.forget(ATTEMPT, backend._pods.get(ATTEMPT).pod.metadata.uid)
        assert await follower is None
        assert not backend._pods._waiters

    story(body)


def test_a_pod_that_is_kept_is_reaped_however_late_it_is_told_of() -> None:
    pods = Pods()
    pod = Pod(
        metadata=Meta(name=NAME, uid="u1", labels={"tesk/task": "task1", "tesk/attempt": "1"}, resource_version="1")
    )
    pods.changed(pod)
    pods.forget(ATTEMPT, "u1")
    pods.changed(pod)
    assert len(pods) == 0
    pods.changed(replace(pod, metadata=replace(pod.metadata, annotations={FORGOTTEN: "1"})))
    assert [*pods.kept] == ["u1"]


def test_another_servers_kept_pod_counts_no_more_with_us_either() -> None:
    pods = Pods()
    pod = Pod(metadata=Meta(name=NAME, uid="u1", labels={"tesk/task": "task1", "tesk/attempt": "1"}))
    pods.changed(pod)
    pods.changed(replace(pod, metadata=replace(pod.metadata, annotations={FORGOTTEN: "1"})))
    assert (len(pods), [*pods.kept]) == (0, ["u1"])


def test_nothing_is_kept_of_what_is_gone_for_long() -> None:
    pods = Pods(remembered_seconds=0.0)
    for uid in ("u1", "u2"):
        pods.changed(Pod(metadata=Meta(name=NAME, uid=uid, labels={"tesk/task": "task1", "tesk/attempt": "1"})))
        pods.forget(ATTEMPT, uid)
    pods.tell_at(ATTEMPT, 0.0)
    assert [*pods._forgotten] == ["u2"]
    assert not pods._alarms


def test_a_server_that_dies_before_it_lets_go_of_a_pod_leaves_no_secret_that_nobody_takes_away() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "done")
        await until(backend, ended)
        cluster.next(*[CUT] * 5, where=f"PATCH /api/v1/namespaces/here/pods/{NAME}")
        with pytest.raises(BackendUnavailable):
            await backend.forget(ATTEMPT)
        assert ("secrets", "here", NAME) not in cluster.objects
        cluster.faults.clear()
        await backend.forget(ATTEMPT)
        assert FORGOTTEN in cluster.objects["pods", "here", NAME]["metadata"]["annotations"]

    story(body, replace(SETTINGS, keep_seconds=1000))


def test_a_log_that_may_not_be_read_is_no_fault_of_our_own() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "executor-runs")
        await known(backend, lambda pod: pod.spec.node_name)
        cluster.next(Answer(403, "pods/log is forbidden", "Forbidden"), where="/log")
        with pytest.raises(BackendUnavailable, match="forbidden"):
            await anext(aiter(backend.logs(ATTEMPT, 0, stream="combined", follow=True)))

    story(body)


def test_who_follows_a_log_whose_answer_ended_too_early_goes_on_behind_what_it_has() -> None:
    async def body(cluster, backend):
        log = cluster.logs["here", NAME, "executor-0"] = [b"one\n", b"two\n"]
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "executor-runs")
        await known(backend, lambda pod: pod.spec.node_name)
        pieces = aiter(backend.logs(ATTEMPT, 0, stream="combined", follow=True))
        wrote = [await anext(pieces)]
        while sum(len(each.data) for each in wrote) < 8:
            wrote.append(await anext(pieces))
        next_one = asyncio.create_task(anext(pieces))
        while not backend._pods._waiters:  # noqa: ASYNC110  nothing says that somebody waits
            await asyncio.sleep(0)
        log.append(b"three\n")
        show(cluster, "executor-runs")
        assert await next_one == Piece("combined", 8, b"three\n")
        assert b"".join(each.data for each in wrote) == b"one\ntwo\n"
        await pieces.aclose()

    story(body)


def test_notes_on_a_pod_without_a_bottom_are_none() -> None:
    deep = '{"more":' + "[" * 100_000
    pod = Pod(metadata=Meta(annotations={MEMO: deep, VERDICT: deep}))
    assert (memo(pod), verdict(pod)) == (Memo(), None)
