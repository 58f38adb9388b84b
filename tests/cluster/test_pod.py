"""A pod in a real cluster, from our manifests, with the real shim and stager in it, and no server."""

import pytest

from cluster.attempts import BUSYBOX, LAYOUTS, attempt, web
from cluster.conftest import Cluster
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.layout import Layout
from tesk.tes.task import Executor, FileType, Input, Output, Task


def shell(script: str, **more: object) -> Executor:
    return Executor(image=BUSYBOX, command=("sh", "-c", script), **more)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_inputs_executors_and_outputs_follow_each_other_in_every_layout(cluster: Cluster, layout: Layout) -> None:
    async def body(api: Api) -> None:
        async with web(api, cluster.namespace) as url:
            task = Task(
                executors=(
                    shell("cat /data/in /etc/app.conf; echo problem >&2", stdout="/data/first"),
                    shell("exit 3", ignore_error=True),
                    shell("tr a-z A-Z < /data/first > out; pwd", workdir="/place/here"),
                ),
                inputs=(
                    Input(path="/data/in", content="some ", type=FileType.FILE),
                    Input(path="/etc/app.conf", content="words", type=FileType.FILE),
                ),
                outputs=(
                    Output(path="/place/here/out", url=f"{url}/out", type=FileType.FILE),
                    Output(path="/data/first", url=f"{url}/first", type=FileType.FILE),
                ),
            )
            async with attempt(api, cluster.namespace, task, layout=layout) as one:
                report = await one.report()
                assert report.error is None
                assert [(end.exit_code, end.stdout, end.stderr) for end in report.executors] == [
                    (0, "some words", "problem\n"),
                    (3, "", ""),
                    (0, "/place/here\n", ""),
                ]
                assert report.outputs is not None
                assert report.outputs.error is None
                assert [(file.path, file.size_bytes) for file in report.outputs.files] == [
                    ("/data/first", 10),
                    ("/place/here/out", 10),
                ]
                await one.until(lambda pod: pod.status.phase in {"Succeeded", "Failed"})
                codes = {each.name: each.state.terminated for each in one.pod.status.container_statuses}
                assert {name: over.exit_code for name, over in codes.items() if over} == {
                    "inputs": 0,
                    "executor-0": 0,
                    "executor-1": 3,
                    "executor-2": 0,
                    "outputs": 0,
                }
            back = Task(
                executors=(shell("cat /data/out"),),
                inputs=(Input(path="/data/out", url=f"{url}/out", type=FileType.FILE),),
            )
            async with attempt(api, cluster.namespace, back, layout=layout) as one:
                assert (await one.report()).executors[0].stdout == "SOME WORDS"

    cluster.run(body)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_trap_4_any_user_reads_what_arrived_and_whatever_it_leaves_is_stored(cluster: Cluster, layout: Layout) -> None:
    template = """
    spec:
      containers:
      - {name: executor, securityContext: {runAsUser: 1000, runAsGroup: 1000, readOnlyRootFilesystem: true}}
    """

    async def body(api: Api) -> None:
        async with web(api, cluster.namespace) as url:
            task = Task(
                executors=(
                    shell(
                        "umask 077; id -u; cat /data/in; echo more >> /data/in; mkdir -p /data/d/e; cp /data/in /data/d/e/out"
                    ),
                ),
                inputs=(Input(path="/data/in", content="some\n", type=FileType.FILE),),
                outputs=(Output(path="/data/d", url=f"{url}/d", type=FileType.DIRECTORY),),
            )
            async with attempt(api, cluster.namespace, task, layout=layout, template=template) as one:
                report = await one.report()
                assert [(end.exit_code, end.stdout) for end in report.executors] == [(0, "1000\nsome\n")]
                assert report.outputs is not None
                assert report.outputs.error is None
                assert [(file.path, file.size_bytes) for file in report.outputs.files] == [("/data/d/e/out", 10)]

    cluster.run(body)


def test_trap_3_a_bad_image_in_the_last_executor_lets_none_run(cluster: Cluster) -> None:
    async def body(api: Api) -> None:
        task = Task(executors=(shell("echo ran"), Executor(image="tesk.test/none:1", command=("true",))))
        async with attempt(api, cluster.namespace, task) as one:
            await one.until(
                lambda pod: (
                    any(
                        each.state.waiting and "Pull" in (each.state.waiting.reason or "")
                        for each in pod.status.container_statuses
                    )
                    and sum(each.state.running is not None for each in pod.status.container_statuses) == 3
                )
            )
            assert one.container("executor-0").state.running is not None
            assert one.container("inputs").state.running is not None
            assert one.container("outputs").state.running is not None

    cluster.run(body)


def test_trap_6_out_of_memory_ends_the_executor_and_what_exists_is_stored(cluster: Cluster) -> None:
    eats = "echo part > /data/part; echo so far; exec awk 'BEGIN { for (s = \"xxxxxxxxxxxxxxxx\"; ; s = s s) ; }'"

    async def body(api: Api) -> None:
        async with web(api, cluster.namespace) as url:
            task = Task(
                executors=(shell(eats), shell("echo ran")),
                outputs=(Output(path="/data/part", url=f"{url}/part", type=FileType.FILE),),
            )
            layout = LAYOUTS["copied, limits on one container"]
            async with attempt(api, cluster.namespace, task, layout=layout, ram_bytes=40_000_000) as one:
                report = await one.report()
                (end,) = report.executors
                # On cgroup v2 the kernel ends all of the container, the shim with it.
                assert (end.exit_code, end.killed) in {(137, False), (None, True)}
                assert end.killed or "out-of-memory" in (end.error or "")
                assert end.stdout == "so far\n"
                assert report.outputs is not None
                assert [file.path for file in report.outputs.files] == ["/data/part"]

    cluster.run(body)


def test_trap_20_a_restricted_pod_does_the_same(cluster: Cluster) -> None:
    async def body(api: Api) -> None:
        async with web(api, cluster.namespace) as url:
            task = Task(
                executors=(shell("id -u; cat /data/in > /data/d/out"),),
                inputs=(Input(path="/data/in", content="some\n", type=FileType.FILE),),
                outputs=(Output(path="/data/d", url=f"{url}/d", type=FileType.DIRECTORY),),
            )
            async with attempt(api, cluster.namespace, task, given={"security": "restricted"}) as one:
                report = await one.report()
                assert [(end.exit_code, end.stdout) for end in report.executors] == [(0, "65532\n")]
                assert report.outputs is not None
                assert (report.outputs.error, len(report.outputs.files)) == (None, 1)

    cluster.run(body)


def test_a_pod_that_is_deleted_ends_at_once(cluster: Cluster) -> None:
    async def body(api: Api) -> None:
        task = Task(executors=(shell("trap 'echo heard; exit 9' TERM; echo ready; while :; do sleep 0.1; done"),))
        async with attempt(api, cluster.namespace, task) as one:
            await one.until(
                lambda pod: any(
                    each.name == "inputs" and each.state.terminated for each in pod.status.container_statuses
                )
            )
            await api.delete(cluster.path("pods", one.name), grace_seconds=20)
            await one.until(lambda pod: all(each.state.terminated for each in pod.status.container_statuses))
            ends = {each.name: each.state.terminated for each in one.pod.status.container_statuses}
            codes = {name: over.exit_code for name, over in ends.items() if over}
            # Where it sees the end of the executor before it is told to end itself, nothing is left for it to do.
            assert codes.pop("outputs") in (0, 143)
            assert codes == {"inputs": 0, "executor-0": 9}

    cluster.run(body)
