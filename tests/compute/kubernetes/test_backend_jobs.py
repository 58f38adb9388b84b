"""Jobs of Kueue, which have yet to make their pods: how many there may be, and whose are ended."""

import pytest
from msgspec.structs import replace

from fakes.pod_backend import ATTEMPT, NAME, PLAN, SETTINGS, known, opened, story
from tesk.compute.backend import AttemptId, Phase

QUEUE = replace(SETTINGS, queue="batch")


def test_jobs_that_wait_in_a_queue_count_as_pods_that_wait() -> None:
    async def body(cluster, backend):
        assert backend.room() == 3
        for number in (1, 2, 3):
            await backend.start(AttemptId("task1", number), PLAN)
            await backend.start(AttemptId("task1", number), PLAN)
        assert backend.room() == 0
        async with opened(cluster, QUEUE) as after:
            assert len([each async for each in after.existing()]) == 3
            assert after.room() == 0
        await backend.stop(ATTEMPT, 1)
        assert backend.room() == 1
        await backend.forget(AttemptId("task1", 2))
        assert backend.room() == 2
        cluster.remove("jobs", "here", "task1-3")
        assert (await backend.observe(AttemptId("task1", 3))).phase is Phase.ABSENT
        assert backend.room() == 3

    story(body, QUEUE)


def test_a_job_that_has_made_its_pod_waits_no_more() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        labels = cluster.objects["jobs", "here", NAME]["metadata"]["labels"]
        await cluster.watched()
        cluster.put("pods", "here", f"{NAME}-x7k2p", metadata={"labels": labels}, spec={"nodeName": "one"})
        await known(backend, lambda pod: pod.spec.node_name)
        assert [each async for each in backend.existing()] == [ATTEMPT]
        assert backend.room() == 3

    story(body, QUEUE)


@pytest.mark.parametrize("how", ["stop", "forget", "stop with a pod"])
def test_a_job_of_that_name_that_is_anothers_is_left(how) -> None:
    async def body(cluster, backend):
        if how == "stop with a pod":
            await backend.start(ATTEMPT, PLAN)
            labels = cluster.objects["jobs", "here", NAME]["metadata"]["labels"]
            cluster.remove("jobs", "here", NAME)
            await cluster.watched()
            cluster.put("pods", "here", f"{NAME}-x7k2p", metadata={"labels": labels}, spec={"nodeName": "one"})
            await known(backend, lambda pod: pod.spec.node_name)
        cluster.put("jobs", "here", NAME, metadata={"labels": {}})
        await (backend.forget(ATTEMPT) if how == "forget" else backend.stop(ATTEMPT, 1))
        assert ("jobs", "here", NAME) in cluster.objects

    story(body, QUEUE)
