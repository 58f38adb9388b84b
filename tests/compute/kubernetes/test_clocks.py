"""A server whose clock is far from that of the cluster."""

from datetime import timedelta

import pytest

from fakes.pod_backend import ATTEMPT, NAME, PLAN, known, show, story
from tesk.compute.backend import Phase


def far(cluster, seconds):
    """Have the cluster's clock show another time from now on."""
    cluster.ahead = timedelta(seconds=seconds)


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_pod_that_is_being_deleted_is_over_by_the_clock_of_its_cluster(seconds) -> None:
    async def body(cluster, backend):
        far(cluster, seconds)
        await backend.start(ATTEMPT, PLAN)
        show(cluster, "executor-runs")
        await known(backend, lambda pod: pod.spec.node_name)
        await backend.api.delete(f"/api/v1/namespaces/here/pods/{NAME}")
        await known(backend, lambda pod: pod.metadata.deletion_timestamp)
        assert not (await backend.observe(ATTEMPT)).phase.ended
        far(cluster, seconds + 301)
        assert await backend.api.get(f"/api/v1/namespaces/here/pods/{NAME}", dict)
        assert (await backend.observe(ATTEMPT)).phase is Phase.PREEMPTED

    story(body)


def test_clocks_that_agree_but_for_a_breath_are_taken_for_one() -> None:
    async def body(cluster, backend):
        far(cluster, 3)
        await backend.api.get("/api/v1/namespaces/here/pods", dict)
        assert backend.api.ahead_seconds == 0.0

    story(body)
