"""What a backend lives by beside its callers: a fault in it is told of in the log, and it goes on."""

import asyncio

import pytest

from fakes.kubernetes_api import Answer
from fakes.pod_backend import ATTEMPT, NAME, PLAN, ended, known, opened, story, until
from tesk.compute.backend import Phase
from tesk.compute.kubernetes.loops import kept
from tesk.errors import BackendUnavailable


def test_a_fault_at_one_pod_does_not_leave_the_server_deaf_for_all_others(caplog) -> None:
    async def body(cluster, backend):
        await cluster.watched()
        changed = backend._pods.changed

        def faulty(pod):
            if pod.metadata.name == "strange":
                raise AssertionError("a bug")
            changed(pod)

        backend._pods.changed = faulty
        labels = {"app.kubernetes.io/managed-by": "tesk", "tesk/server": "us"}
        cluster.put("pods", "here", "strange", metadata={"labels": labels})
        await cluster.until(lambda: not cluster.watchers)
        await backend.start(ATTEMPT, PLAN)
        await known(backend, lambda _: backend._pods.get(ATTEMPT).unseen_since is None)
        assert "a bug" in caplog.text

    story(body)


def test_a_loop_that_is_canceled_ends_and_does_not_begin_anew() -> None:
    async def story():
        begun, ended = asyncio.Event(), []

        async def loop():
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        keeping = asyncio.create_task(kept(loop))
        await begun.wait()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        assert (keeping.cancelled(), ended) == (True, [True])

    asyncio.run(story())


def test_a_server_that_dies_in_its_stop_at_once_costs_a_task_no_attempt() -> None:
    async def body(cluster, backend):
        await backend.start(ATTEMPT, PLAN)
        await cluster.watched()
        cluster.next(*[Answer(500, "the server died here")] * 20, where=f"DELETE /api/v1/namespaces/here/pods/{NAME}")
        with pytest.raises(BackendUnavailable):
            await backend.stop(ATTEMPT, 0)
        cluster.faults.clear()
        async with opened(cluster) as after:
            await after.api.delete(f"/api/v1/namespaces/here/pods/{NAME}")
            seen = await until(after, ended)
            assert (seen.phase, seen.ours) == (Phase.PREEMPTED, True)

    story(body)
