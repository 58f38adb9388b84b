"""The backend against an API server that breaks off, refuses and forgets, and against its own death between two steps."""

import asyncio
import contextlib
import json
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from fakes.attempts import plan, shell
from fakes.kubernetes_api import CUT, DONE_AND_CUT, Answer, KubernetesApi
from tesk.compute.backend import AttemptId, Phase
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.backend import KubernetesBackend
from tesk.compute.kubernetes.credentials import Access
from tesk.compute.kubernetes.kubeconfig import Cluster, User
from tesk.compute.kubernetes.memo import FORGOTTEN, MEMO, VERDICT, Memo, memo, verdict
from tesk.compute.kubernetes.objects import Meta, Pod
from tesk.compute.kubernetes.pods import Pods
from tesk.compute.kubernetes.settled import policy_of
from tesk.errors import BackendUnavailable, CannotRun, TransferRefused
from tesk.pod import AttemptReport, ExecutorEnd
from tesk.pod_report import line, summary
from tesk.settings import KubernetesSettings, StorageSettings
from tesk.storage.needed import needed
from tesk.transfer import TransferReport

PODS = Path(__file__).parent / "pods"
ATTEMPT = AttemptId("task1", 1)
NAME = str(ATTEMPT)
SETTINGS = KubernetesSettings(
    namespace="here", server_id="us", shim="copy", pod_resources="on", stager_image="stager", pending_limit=3
)
PLAN = plan(shell("true"))


async def same(image, caller):
    if image.startswith("trs://bad"):
        raise TransferRefused(f"{image}: is not there")
    return image


@contextlib.asynccontextmanager
async def opened(cluster, settings=SETTINGS, *, request_seconds=0.5):
    """A server's backend, from its start to its death."""
    access = Access(Cluster(server=cluster.url), User(), "default")
    theirs = partial(needed, StorageSettings(), web_identity=False)
    api = Api(access, request_seconds=request_seconds)
    backend = KubernetesBackend(settings, policy_of(settings), theirs, same, api=api)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


def story(body, settings=SETTINGS):
    """Run `body(cluster, backend)` against a fake cluster."""

    async def whole():
        served = KubernetesApi().serving()
        async with asyncio.timeout(60), served as cluster, opened(cluster, settings) as backend:
            await body(cluster, backend)

    asyncio.run(whole())


def show(cluster, name, *, attempt=ATTEMPT, **status):
    """Have a pod show what a real one did."""
    seen = json.loads((PODS / f"{name}.json").read_text())
    pod = cluster.objects["pods", "here", str(attempt)]
    cluster.put(
        "pods", "here", str(attempt), metadata=pod["metadata"], spec=seen["spec"], status=seen["status"] | status
    )


def report(cluster, *, attempt=ATTEMPT, code=0, stdout="out\n"):
    uid = cluster.objects["pods", "here", str(attempt)]["metadata"]["uid"]
    ends = (ExecutorEnd(index=0, exit_code=code, started=1.0, ended=2.0, stdout=stdout),)
    return AttemptReport(
        pod=uid, attempt=str(attempt), inputs=TransferReport(), executors=ends, outputs=TransferReport()
    )


def said(cluster, message):
    """Let the container `outputs` have ended with a message."""
    pod = cluster.objects["pods", "here", NAME]
    for each in pod["status"]["containerStatuses"]:
        if each["name"] == "outputs":
            each["state"]["terminated"]["message"] = message
    cluster.put("pods", "here", NAME, metadata=pod["metadata"], status=pod["status"])


async def until(backend, true, attempt=ATTEMPT):
    """Look at each change until something is true of what is seen."""
    changes = backend.changes()
    while not true(seen := await backend.observe(attempt)):
        await anext(changes)
    return seen


def ended(seen):
    return seen.phase.ended


async def known(backend, true, attempt=ATTEMPT):
    """Wait until something is true of the pod as the mirror has it."""
    changes = backend.changes()
    while (there := backend._pods.get(attempt)) is None or not true(there.pod):
        await anext(changes)


# -- begin ------------------------------------------------------------------------------------------------------------------
def test_a_create_whose_answer_was_lost_is_adopted_and_completed() -> None:
    async def body(cluster, backend):
        cluster.next(DONE_AND_CUT, where="POST /api/v1/namespaces/here/pods?")
        with pytest.raises(BackendUnavailable):
            await backend.start(ATTEMPT, PLAN)
        seen = await backend.observe(ATTEMPT)
        assert (seen.phase, seen.incomplete) == (Phase.WAITING, True)
        await backend.start(ATTEMPT, PLAN)
        assert not (await backend.observe(ATTEMPT)).incomplete
        assert [key for key in cluster.objects if key[0] == "pods"] == [("pods", "here", NAME)]
        secret = cluster.objects["secrets", "here", NAME]
        assert (
            secret["metadata"]["ownerReferences"][0]["uid"] == cluster.objects["pods", "here", NAME]["metadata"]["uid"]
        )

    story(body)


def test_a_pod_whose_server_died_before_its_secret_is_completed_by_the_next_one() -> None:
    async def body(cluster, backend):
        cluster.next(*[CUT] * 5, where="POST /api/v1/namespaces/here/secrets")
        with pytest.raises(BackendUnavailable):
            await backend.start(ATTEMPT, PLAN)
        await backend.close()
        cluster.faults.clear()
        async with opened(cluster) as after:
            assert [each async for each in after.existing()] == [ATTEMPT]
            assert (await after.observe(ATTEMPT)).incomplete
            await after.start(ATTEMPT, PLAN)
            assert not (await after.observe(ATTEMPT)).incomplete
        assert ("secrets", "here", NAME) in cluster.objects

    story(body)


def test_the_secret_of_an_earlier_pod_of_that_name_is_replaced() -> None:
    async def body(cluster, backend):
        cluster.put("secrets", "here", NAME, data={})
        await backend.start(ATTEMPT, PLAN)
        assert cluster.objects["secrets", "here", NAME]["data"]

    story(body)


def test_a_pod_of_that_name_that_is_anothers_is_left_alone() -> None:
    async def body(cluster, backend):
        cluster.put("pods", "here", NAME, metadata={"labels": {"tesk/server": "them"}})
        with pytest.raises(CannotRun) as refused:
            await backend.start(ATTEMPT, PLAN)
        assert "is not this server's" in str(refused.value)
        assert (await backend.observe(ATTEMPT)).phase is Phase.ABSENT
        await backend.forget(ATTEMPT)
        assert ("pods", "here", NAME) in cluster.objects

    story(body)


def test_a_used_up_quota_is_waited_for_and_not_asked_about_by_every_task() -> None:
    async def body(cluster, backend):
        full = Answer(
            403,
            'pods "x" is forbidden: exceeded quota: small, requested: cpu=1, used: cpu=2, limited: cpu=2',
            "Forbidden",
        )
        cluster.next(full, where="POST /api/v1/namespaces/here/pods?")
        before = len(cluster.asked("POST"))
        for number in range(5):
            with pytest.raises(BackendUnavailable) as waits:
                await backend.start(AttemptId("task1", number + 1), PLAN)
            assert "exceeded quota: small" in str(waits.value)
        assert len(cluster.asked("POST")) == before + 1
        cluster.put("pods", "here", "other-1", metadata={"labels": {"tesk/task": "other", "tesk/attempt": "1"}})
        await known(backend, lambda pod: True, AttemptId("other", 1))
        cluster.remove("pods", "here", "other-1")
        await anext(backend.changes())
        await backend.start(ATTEMPT, PLAN)

    story(body)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(422, 'Pod "x" is invalid: spec.containers[1].image: Invalid value', "Invalid"),
        Answer(403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest"', "Forbidden"),
        Answer(403, 'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2G', "Forbidden"),
    ],
)
def test_what_the_cluster_will_never_take_ends_with_its_words(answer) -> None:
    async def body(cluster, backend):
        cluster.next(answer, where="POST /api/v1/namespaces/here/pods?")
        with pytest.raises(CannotRun) as refused:
            await backend.start(ATTEMPT, PLAN)
        assert answer.message in str(refused.value)

    story(body)


def test_rights_that_are_missing_are_waited_for() -> None:
    async def body(cluster, backend):
        no = Answer(403, 'pods is forbidden: User "x" cannot create resource "pods" in API group ""', "Forbidden")
        cluster.next(no, where="POST /api/v1/namespaces/here/pods?")
        with pytest.raises(BackendUnavailable) as waits:
            await backend.start(ATTEMPT, PLAN)
        assert "cannot create resource" in str(waits.value)

    story(body)


def test_an_image_that_no_registry_of_tools_knows_is_refused() -> None:
    async def body(cluster, backend):
        step = replace(PLAN.steps[0], image="trs://bad/x/1")
        with pytest.raises(CannotRun) as refused:
            await backend.start(ATTEMPT, replace(PLAN, steps=(step,)))
        assert str(refused.value).startswith("executors[0].image: trs://bad/x/1")

    story(body)


# -- look -------------------------------------------------------------------------------------------------------------------
def test_nothing_is_absent_while_the_cluster_does_not_answer() -> None:
    async def body(cluster, backend):
        cluster.next(*[CUT] * 50, where=f"GET /api/v1/namespaces/here/pods/{NAME}")
        with pytest.raises(BackendUnavailable):
            await backend.observe(ATTEMPT)
        cluster.faults.clear()
        assert (await backend.observe(ATTEMPT)).phase is Phase.ABSENT

    story(body)


def test_a_running_task_costs_no_call_and_a_whole_one_no_more_than_eight() -> None:
    async def body(cluster, backend):
        async def calls():
            return sum(count for rule, count in backend.api.calls.items() if rule.verb not in ("list", "watch"))

        before = await calls()
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "executor-runs")
        await until(backend, lambda seen: seen.phase is Phase.RUNNING)
        running = await calls()
        for _ in range(10):
            await backend.observe(ATTEMPT)
        assert await calls() == running
        show(cluster, "done")
        said(cluster, summary(report(cluster)).decode())
        seen = await until(backend, ended)
        assert (seen.phase, seen.executor_logs[0].stdout) == (Phase.DONE, "out\n")
        await backend.forget(ATTEMPT)
        assert await calls() - before == 4
        assert ("pods", "here", NAME) not in cluster.objects
        assert [each async for each in backend.existing()] == []
        assert (await backend.observe(ATTEMPT)).phase is Phase.ABSENT

    story(body)


def test_a_report_that_does_not_fit_into_the_message_is_read_of_the_log_once() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        whole = report(cluster, stdout="x" * 50_000)
        cluster.logs["here", NAME, "outputs"] = [b'{"tesk":"progress/1"}\n', line(whole)[:99], line(whole)[99:] + b"\n"]
        show(cluster, "done")
        said(cluster, summary(whole).decode())
        for _ in range(2):
            seen = await until(backend, ended)
            assert seen.executor_logs[0].stdout == "x" * 50_000
        assert len(cluster.asked("GET", "/log")) == 1

    story(body)


def test_where_the_log_is_gone_the_summary_is_what_is_left_and_that_is_said() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "done")
        said(cluster, summary(report(cluster, stdout="x" * 50_000)).decode())
        seen = await until(backend, ended)
        assert seen.phase is Phase.DONE
        assert 0 < len(seen.executor_logs[0].stdout) < 4096
        assert any("only a part is known" in note for note in seen.notes)

    story(body)


def test_a_report_of_another_pod_is_not_believed() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "done")
        said(cluster, summary(replace(report(cluster), pod="another")).decode())
        seen = await until(backend, ended)
        assert (seen.phase, seen.final) == (Phase.SYSTEM_FAILED, False)
        assert seen.executor_logs == ()

    story(body)


def test_a_bad_image_is_written_down_before_its_pod_is_deleted_and_known_to_the_next_server() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "image-name-invalid")
        await until(backend, lambda seen: cluster.asked("DELETE"))
        kinds = [each[0] for each in cluster.requests if each[1].endswith(f"/pods/{NAME}")]
        assert kinds == ["PATCH", "DELETE"]
        assert VERDICT in cluster.objects["pods", "here", NAME]["metadata"]["annotations"]
        assert not (await backend.observe(ATTEMPT)).phase.ended
        await backend.close()
        show(cluster, "image-name-invalid", phase="Failed")
        async with opened(cluster) as after:
            seen = await until(after, ended)
            assert (seen.phase, seen.final) == (Phase.SYSTEM_FAILED, True)
            assert "InvalidImageName" in seen.reason

    story(body)


# -- end --------------------------------------------------------------------------------------------------------------------
def test_a_stop_is_our_own_also_to_the_server_that_comes_after() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "executor-runs")
        await known(backend, lambda pod: pod.spec.node_name)
        await backend.stop(ATTEMPT, 7.2)
        assert not (await backend.observe(ATTEMPT)).phase.ended
        await backend.close()
        show(cluster, "executor-runs", phase="Failed")
        async with opened(cluster) as after:
            seen = await until(after, ended)
            assert (seen.phase, seen.ours) == (Phase.PREEMPTED, True)

    story(body)


def test_a_pod_without_a_node_is_over_as_soon_as_it_is_deleted() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        assert backend.room() == 2
        await backend.stop(ATTEMPT, 7)
        assert (await until(backend, ended)).phase is Phase.PREEMPTED
        await backend.forget(ATTEMPT)
        assert backend.room() == 3
        assert not [key for key in cluster.objects if key[0] == "pods"]

    story(body)


def test_a_finalizer_is_taken_off_though_somebody_changes_others_meanwhile() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "done")
        said(cluster, summary(report(cluster)).decode())
        await until(backend, ended)
        pod = cluster.objects["pods", "here", NAME]
        backend._mirror._changed = lambda _: None  # the word of it is late
        others = pod["metadata"] | {"finalizers": ["their/own", "tesk/result"]}
        cluster.put("pods", "here", NAME, metadata=others)
        await backend.forget(ATTEMPT)
        assert cluster.objects["pods", "here", NAME]["metadata"]["finalizers"] == ["their/own"]
        assert [each async for each in backend.existing()] == []

    story(body)


def test_a_pod_is_kept_for_people_without_what_is_secret_and_counts_no_more() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "done")
        said(cluster, summary(report(cluster)).decode())
        await until(backend, ended)
        await backend.forget(ATTEMPT)
        kept = cluster.objects["pods", "here", NAME]["metadata"]
        assert kept["finalizers"] == []
        assert FORGOTTEN in kept["annotations"]
        assert ("secrets", "here", NAME) not in cluster.objects
        assert (await backend.observe(ATTEMPT)).phase is Phase.ABSENT
        async with opened(cluster, replace(SETTINGS, keep_seconds=1000)) as after:
            assert [each async for each in after.existing()] == []

    story(body, replace(SETTINGS, keep_seconds=1000))


def test_room_is_what_the_bound_of_waiting_pods_leaves_and_none_while_the_cluster_is_away() -> None:
    async def body(cluster, backend):
        for number in range(3):
            attempt = AttemptId(f"task{number}", 1)
            await backend.start(attempt, PLAN)
            assert backend.room() == 2 - number
        show(cluster, "executor-runs", attempt=AttemptId("task1", 1))
        await known(backend, lambda pod: pod.spec.node_name, AttemptId("task1", 1))
        assert backend.room() == 1
        backend._mirror.synced.clear()
        assert backend.room() == 0

    story(body)


# -- what is nobody's, and what nobody tells of ---------------------------------------------------------------------------------
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


def test_a_job_of_that_name_that_is_anothers_is_nothing_of_ours() -> None:
    async def body(cluster, backend):
        cluster.put("jobs", "here", NAME, metadata={"labels": {}})
        assert (await backend.observe(ATTEMPT)).phase is Phase.ABSENT

    story(body, QUEUE)


def test_rights_that_went_are_waited_for_at_every_look() -> None:
    async def body(cluster, backend):
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


def test_a_pod_that_came_and_went_unseen_is_absent_in_the_end(monkeypatch) -> None:
    monkeypatch.setattr("tesk.compute.kubernetes.backend._UNSEEN_SECONDS", 0.0)

    async def body(cluster, backend):
        await cluster.watched()
        backend._loops[0].cancel()  # nobody hears what happens meanwhile
        await cluster.until(lambda: not cluster.watchers)
        await backend.start(ATTEMPT, PLAN)
        assert (await backend.observe(ATTEMPT)).phase is Phase.WAITING
        cluster.remove("pods", "here", NAME)
        assert (await backend.observe(ATTEMPT)).phase is Phase.ABSENT

    story(body)


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


def test_nothing_is_kept_of_what_is_gone_for_long(monkeypatch) -> None:
    monkeypatch.setattr("tesk.compute.kubernetes.pods._REMEMBERED_SECONDS", 0.0)
    pods = Pods()
    for uid in ("u1", "u2"):
        pods.changed(Pod(metadata=Meta(name=NAME, uid=uid, labels={"tesk/task": "task1", "tesk/attempt": "1"})))
        pods.forget(ATTEMPT, uid)
    pods.tell_at(ATTEMPT, 0.0)
    assert [*pods._forgotten] == ["u2"]
    assert not pods._alarms


def test_a_log_that_may_not_be_read_is_no_fault_of_our_own() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "executor-runs")
        await known(backend, lambda pod: pod.spec.node_name)
        cluster.next(Answer(403, "pods/log is forbidden", "Forbidden"), where="/log")
        with pytest.raises(BackendUnavailable, match="forbidden"):
            await anext(aiter(backend.logs(ATTEMPT, 0, stream="combined", follow=True)))

    story(body)


def test_notes_on_a_pod_without_a_bottom_are_none() -> None:
    deep = '{"more":' + "[" * 100_000
    pod = Pod(metadata=Meta(annotations={MEMO: deep, VERDICT: deep}))
    assert (memo(pod), verdict(pod)) == (Memo(), None)
