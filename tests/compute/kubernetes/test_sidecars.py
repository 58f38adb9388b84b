"""Pods into which a webhook of the namespace puts containers of its own."""

import gzip
from base64 import b64decode

from msgspec import json

from fakes.pod_backend import ATTEMPT, NAME, PLAN, report, story
from tesk.pod import PodJob
from tesk.pod_report import read_report, room, summary


def test_the_stager_is_told_of_all_containers_that_a_pod_was_given_so_that_its_report_is_never_cut() -> None:
    async def body(cluster, backend):
        put = cluster.put

        def injected(resource, namespace, name, **fields):
            if resource == "pods" and "spec" in fields:
                fields["spec"]["containers"] += [{"name": f"mesh-{number}"} for number in range(4)]
                fields["spec"]["initContainers"].append({"name": "mesh-init"})
            return put(resource, namespace, name, **fields)

        cluster.put = injected
        await backend.start(ATTEMPT, PLAN)
        cluster.put = put
        spec = cluster.objects["pods", "here", NAME]["spec"]
        count = len(spec["containers"]) + len(spec["initContainers"])
        secret = cluster.objects["secrets", "here", NAME]["data"]
        job = json.decode(gzip.decompress(b64decode(secret["stager"])), type=PodJob)
        assert job.containers == count == 9
        said = summary(report(cluster, stdout="x" * 10_000), room(len(job.executors), job.containers))
        assert read_report(said[: 12288 // count]).executors[0].exit_code == 0

    story(body)
