"""The backend against an API server that breaks off, refuses and forgets, and against its own death between two steps."""

import pytest
from msgspec.structs import replace

from fakes.kubernetes_api import CUT, DONE_AND_CUT, Answer
from fakes.pod_backend import ATTEMPT, NAME, PLAN, SETTINGS, ended, known, opened, report, said, show, story, until
from tesk.compute.backend import AttemptId, Phase
from tesk.compute.kubernetes.memo import FORGOTTEN, VERDICT
from tesk.errors import BackendUnavailable, CannotRun
from tesk.pod import ExecutorEnd
from tesk.pod_report import line, summary


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
            assert backend.waiting(AttemptId("task1", number + 1)) == str(waits.value)
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


@pytest.mark.parametrize("lost", [False, True])
def test_only_an_executor_that_its_node_lost_before_its_turn_is_worth_another_attempt(lost) -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "done")
        whole = report(cluster)
        never = ExecutorEnd(index=1, error="it never ran", lost=lost)
        said(cluster, summary(replace(whole, executors=(*whole.executors, never))).decode())
        seen = await until(backend, ended)
        assert (seen.phase, seen.reason) == (Phase.SYSTEM_FAILED, "executors[1]: it never ran.")
        assert seen.final is not lost

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
