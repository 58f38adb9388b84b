"""What goes wrong with one pod per attempt, on a real cluster; the numbers are those of docs/kubernetes/traps.md.

Here is what the backend does about it. Others are with what they are about: tests whose names begin with `test_trap_`.
"""

import asyncio
import random

import pytest

from fakes.attempts import ShelfStager, codes, finish, new_attempt, plan, shell, stdout, until, wait_for_words
from fakes.left_in_cluster import assert_nothing_is_left
from fakes.pods import kubernetes, opened, parts, settings
from tesk.compute.backend import AttemptId, Phase
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.backend import KubernetesBackend
from tesk.compute.kubernetes.credentials import find
from tesk.compute.kubernetes.objects import Bare, Pod, path_of
from tesk.errors import BackendUnavailable, CannotRun
from tesk.tes.task import Executor, Output

SMALL = {"cpu_cores": 0.05, "ram_bytes": 100_000_000}


def small(*executors, **more):
    return plan(*executors, **SMALL | more)


def story(namespace, body, kind=KubernetesBackend, **more):
    """Run `body(backend)` in a cluster, within a bound."""

    async def whole():
        async with asyncio.timeout(150), opened(kind, settings(namespace, **more)) as backend:
            await body(backend)

    asyncio.run(whole())


def path(backend, attempt, resource="pods"):
    return path_of(resource, backend._cluster.namespace, str(attempt))


async def nothing_left(backend, *attempts):
    """Wait until a cluster has nothing of some attempts; it cleans secrets up by itself, in its own time."""
    tasks = ", ".join(attempt.task_id for attempt in attempts)
    await assert_nothing_is_left(backend.api, backend._cluster.namespace, f"tesk/task in ({tasks})")


class Injecting(Api):
    """Puts a container that never ends before all others of a pod, as a webhook of a mesh does."""

    async def create(self, path, body, shape, **given):
        if path.endswith("/pods") and not given.get("dry_run"):
            proxy = {
                "name": "istio-proxy",
                "image": "busybox",
                "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"],
            }
            containers = [proxy, *body["spec"]["containers"]]
            body = {**body, "spec": {**body["spec"], "containers": containers}}
        return await super().create(path, body, shape, **given)


class Meshed(KubernetesBackend):
    """A backend in a cluster with a mesh."""

    def __init__(self, *given):
        super().__init__(*given, api=Injecting(find()))


def test_trap_1_a_container_that_was_injected_and_never_ends_is_none_of_ours(pods_namespace) -> None:
    async def body(backend):
        attempt = new_attempt()
        await backend.start(attempt, small(shell("echo done")))
        assert stdout(await until(backend, attempt)) == "done\n"
        pod = await backend.api.get(path(backend, attempt), Pod)
        assert pod.status.phase == "Running"
        await backend.forget(attempt)
        await nothing_left(backend, attempt)

    story(pods_namespace, body, Meshed)


@pytest.mark.parametrize(
    ("image", "given", "words"),
    [
        ("Not A Name", {}, "InvalidImageName"),
        ("no.such.registry/none:1", {"image_wait_seconds": 3}, "executors[1]: image no.such.registry/none:1: "),
    ],
)
def test_trap_2_an_image_that_cannot_be_had_ends_the_attempt_in_its_time(pods_namespace, image, given, words) -> None:
    async def body(backend):
        seen = await finish(backend, small(shell("true"), Executor(image=image, command=("true",))))
        assert seen.phase is Phase.SYSTEM_FAILED
        assert words in seen.reason
        assert codes(seen) == []

    story(pods_namespace, body, **given)


def test_trap_2_what_waits_for_a_node_says_why_at_once_and_goes_on_waiting(pods_namespace) -> None:
    async def body(backend):
        attempt = new_attempt()
        await backend.start(attempt, small(shell("true"), cpu_cores=9000))
        seen = await until(backend, attempt, lambda seen: seen.waiting is not None)
        assert seen.phase is Phase.WAITING
        assert "Insufficient cpu" in seen.waiting
        assert backend.waiting(attempt) == seen.waiting
        assert backend.room() == 999
        await backend.stop(attempt, 5)
        assert (await until(backend, attempt)).phase is Phase.PREEMPTED
        await backend.forget(attempt)
        await nothing_left(backend, attempt)

    story(pods_namespace, body)


def test_trap_5_outputs_finish_the_task_also_after_a_failure(pods_namespace) -> None:
    stager = ShelfStager()

    async def whole():
        async with asyncio.timeout(100), kubernetes(pods_namespace, stager) as backend:
            script = "echo partial > /data/out; exit 7"
            outputs = (Output(path="/data/out", url="file:///x"),)
            seen = await finish(backend, small(shell(script), shell("true"), outputs=outputs))
            assert (seen.phase, codes(seen)) == (Phase.EXECUTOR_FAILED, [7])
            assert [log.size_bytes for log in seen.output_logs] == ["8"]

    asyncio.run(whole())
    assert stager.shelf == {"/data/out": b"partial\n"}


def test_trap_6_out_of_memory_is_exit_code_137_and_said_with_the_limit(pods_namespace) -> None:
    async def body(backend):
        eats = Executor(image="python", command=("python3", "-c", "x = bytearray(10**9); print(len(x))"))
        seen = await finish(backend, small(eats, ram_bytes=50_000_000))
        assert (seen.phase, codes(seen)) == (Phase.EXECUTOR_FAILED, [137])
        assert "executors[0]: out of memory (limit 0.05 GB)." in seen.notes

    story(pods_namespace, body)


def test_trap_8_commands_and_environments_reach_programs_as_they_are(pods_namespace) -> None:
    long = "x" * 100_000

    async def body(backend):
        words = ("printf", "%s|", "$(HOME)", "$$", "$(X)", "a\nb", '"', "true", long)
        env = {"X": "$(PATH) $$", "BOOL": "true", "NUMBER": "123"}
        what = small(Executor(image="debian", command=words, env=env), shell('echo "$X|$BOOL|$NUMBER"', env=env))
        seen = await finish(backend, what)
        assert stdout(seen).endswith("|") or len(stdout(seen)) == 65536
        assert stdout(seen, 1) == "$(PATH) $$|true|123\n"

    story(pods_namespace, body)


def test_trap_9_what_fits_into_no_secret_is_refused_with_the_limit(pods_namespace) -> None:
    async def body(backend):
        attempt = new_attempt()
        letters = random.Random(9)
        many = [shell(f": {letters.randbytes(100_000).hex()}") for _ in range(12)]
        with pytest.raises(CannotRun) as refused:
            await backend.start(attempt, small(*many))
        assert "1048576" in str(refused.value)
        await backend.forget(attempt)
        await nothing_left(backend, attempt)

    story(pods_namespace, body)


def test_trap_11_a_pod_that_somebody_deletes_stays_until_its_result_is_stored(pods_namespace) -> None:
    async def body(backend):
        attempt = new_attempt()
        await backend.start(
            attempt, small(shell("trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.1; done"))
        )
        await wait_for_words(backend, attempt, b"ready")
        await until(backend, attempt, lambda seen: seen.phase is Phase.RUNNING)
        await backend.api.delete(path(backend, attempt), grace_seconds=5)
        seen = await until(backend, attempt)
        assert (seen.phase, seen.ours, seen.reason) == (Phase.PREEMPTED, False, "The pod was deleted by somebody else.")
        assert seen.executor_logs[0].stdout == "ready\nbye\n"
        assert await backend.api.get(path(backend, attempt), Pod)
        await backend.forget(attempt)
        await nothing_left(backend, attempt)

    story(pods_namespace, body)


def test_trap_12_a_quota_that_is_used_up_is_waited_for_with_its_words(pods_namespace) -> None:
    async def body(backend):
        quotas = path_of("resourcequotas", pods_namespace)
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "full"},
            "spec": {"hard": {"pods": "0"}},
        }
        await backend.api.create(quotas, quota, Bare)
        attempt = new_attempt()

        async def until_it_counts():
            while True:
                await backend.start(attempt, small(shell("echo done")))
                await backend.forget(attempt)

        with pytest.raises(BackendUnavailable) as waits:
            await until_it_counts()
        assert "exceeded quota: full" in str(waits.value)
        await backend.api.delete(path_of("resourcequotas", pods_namespace, "full"))
        while True:
            try:
                await backend.start(attempt, small(shell("echo done")))
                break
            except BackendUnavailable:
                await asyncio.sleep(0.2)
        assert stdout(await until(backend, attempt)) == "done\n"
        await backend.forget(attempt)

    story(pods_namespace, body)


def test_trap_13_whoever_comes_next_adopts_an_attempt_at_any_step(pods_namespace) -> None:
    given = settings(pods_namespace)
    attempt = new_attempt()
    what = small(shell("echo once; sleep 2"))

    async def life(body):
        backend = KubernetesBackend(given, *parts(given))
        await backend.open()
        try:
            async with asyncio.timeout(60):
                await body(backend)
        finally:
            await backend.close()

    async def makes_the_pod(backend):
        await backend._cluster.create(attempt, what, await backend._layout())

    async def completes_it(backend):
        assert [each async for each in backend.existing()] == [attempt]
        assert (await backend.observe(attempt)).incomplete
        await backend.start(attempt, what)
        assert not (await backend.observe(attempt)).incomplete

    async def sees_it_run(backend):
        await until(backend, attempt, lambda seen: seen.phase is Phase.RUNNING)

    async def sees_its_end(backend):
        assert stdout(await until(backend, attempt)) == "once\n"

    async def takes_the_finalizer_off(backend):
        known = await backend._sight.known(attempt)
        await backend._cluster.let_go(known.pod, kept_since=None)

    async def forgets_it(backend):
        assert [each async for each in backend.existing()] == [attempt]
        await backend.forget(attempt)
        assert (await backend.observe(attempt)).phase is Phase.ABSENT
        await nothing_left(backend, attempt)

    async def lives():
        for body in (
            makes_the_pod,
            completes_it,
            sees_it_run,
            sees_its_end,
            sees_its_end,
            takes_the_finalizer_off,
            forgets_it,
        ):
            await life(body)

    asyncio.run(lives())


def test_trap_15_an_evicted_pod_is_lost_through_no_fault_of_the_task(pods_namespace) -> None:
    async def body(backend):
        attempt = new_attempt()
        await backend.start(attempt, small(shell("echo ready; sleep 1000")))
        await wait_for_words(backend, attempt, b"ready")
        pod = await backend.api.get(path(backend, attempt), Bare)
        assert pod.metadata.annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": str(attempt), "namespace": pods_namespace},
            "deleteOptions": {"gracePeriodSeconds": 1},
        }
        await backend.api.create(f"{path(backend, attempt)}/eviction", eviction, Bare)
        seen = await until(backend, attempt)
        assert (seen.phase, seen.ours, seen.final) == (Phase.PREEMPTED, False, False)
        assert "evicted" in seen.reason
        await backend.forget(attempt)

    story(pods_namespace, body)


@pytest.mark.parametrize("phase", ["unschedulable", "pulling", "running"])
def test_trap_16_a_stop_ends_it_in_every_phase_and_leaves_nothing(pods_namespace, phase) -> None:
    missing = Executor(image="no.such.registry/none:1", command=("true",))
    what = {
        "unschedulable": small(shell("true"), cpu_cores=9000),
        "pulling": small(missing),
        "running": small(shell("echo ready; sleep 1000")),
    }[phase]

    async def body(backend):
        attempt = new_attempt()
        await backend.start(attempt, what)
        if phase == "running":
            await wait_for_words(backend, attempt, b"ready")
        else:
            await until(backend, attempt, lambda seen: seen.waiting is not None)
        await backend.stop(attempt, 5)
        seen = await until(backend, attempt)
        assert (seen.phase, seen.ours) == (Phase.PREEMPTED, True)
        await backend.forget(attempt)
        await nothing_left(backend, attempt)

    story(pods_namespace, body)


def test_trap_17_a_full_disk_is_said_with_its_limit_and_not_tried_again(pods_namespace) -> None:
    async def body(backend):
        fills = shell("dd if=/dev/zero of=/data/x bs=1M count=200; sleep 1000")
        seen = await finish(backend, small(fills, disk_bytes=100_000_000, volumes=("/data",)))
        assert (seen.phase, seen.final, seen.reason) == (Phase.SYSTEM_FAILED, True, "disk full (limit 0.1 GB)")

    story(pods_namespace, body)


def test_trap_18_nothing_is_left_of_attempts_of_all_endings(pods_namespace) -> None:
    async def body(backend):
        plans = [
            small(shell("true")),
            small(shell("exit 3")),
            small(Executor(image="Not A Name", command=("true",))),
            small(shell("true", stdin="/data/none")),
            small(shell("sleep 1000")),
            small(shell("true"), cpu_cores=9000),
        ]
        attempts = [AttemptId(f"all{new_attempt().task_id}", 1) for _ in plans]
        await asyncio.gather(*(backend.start(*each) for each in zip(attempts, plans, strict=True)))
        for attempt in attempts[4:]:
            await backend.stop(attempt, 1)

        async def see_off(attempt):
            while not (await backend.observe(attempt)).phase.ended:
                await backend._pods.news(attempt)
            await backend.forget(attempt)

        await asyncio.gather(*map(see_off, attempts))
        await nothing_left(backend, *attempts)
        assert [each async for each in backend.existing()] == []

    story(pods_namespace, body)


def test_trap_19_executors_have_no_token_no_links_and_no_secrets_of_the_stager(pods_namespace) -> None:
    script = (
        "ls /var/run/secrets 2>/dev/null | wc -l; env | grep -c KUBERNETES_; ls /.tesk/job; "
        "touch /.tesk/shim/x 2>/dev/null && echo written; grep NoNewPrivs /proc/1/status | tr -d '\\t'"
    )

    async def body(backend):
        said = stdout(await finish(backend, small(shell(script)))).split()
        assert said == ["0", "0", "job", "NoNewPrivs:1"]

    story(pods_namespace, body)


def test_trap_23_a_queue_that_lets_a_job_go_has_its_pod_run(pods_namespace) -> None:
    # The test does what Kueue does: it lets the Job go.
    async def body(backend):
        attempt = new_attempt()
        what = small(shell("echo done"))
        await backend.start(attempt, what)
        seen = await backend.observe(attempt)
        assert (seen.phase, seen.waiting) == (Phase.WAITING, "It waits to be admitted by its queue.")
        job = path_of("jobs", pods_namespace, str(attempt), group="batch/v1")
        await backend.api.patch(job, {"spec": {"suspend": False}}, Bare)
        await until(backend, attempt, lambda seen: seen.incomplete)
        await backend.start(attempt, what)
        seen = await until(backend, attempt)
        assert stdout(seen) == "done\n"
        assert seen.metadata["kubernetes.pod"].startswith(f"{attempt}-")
        await backend.forget(attempt)
        await nothing_left(backend, attempt)

    story(pods_namespace, body, queue="batch")
