"""The client against a real API server: what a fake one says is what a real one says."""

import asyncio
import base64
from contextlib import aclosing, suppress

import pytest

from cluster.etcd import compact, store_of_the_cluster
from tesk.compute.kubernetes.objects import Bare, Pod, Rule, path_of
from tesk.compute.kubernetes.refusals import AlreadyExists, Conflict, Forbidden, Gone, Invalid, NotFound
from tesk.compute.kubernetes.watch import Mirror


def printing(name, script, **fields):
    container = {"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]}
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **fields}, "spec": spec}


def secret(name, **labels):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}}


def test_a_pod_is_seen_from_its_beginning_to_its_end_and_its_log_is_read(cluster):
    async def body(api):
        pods, told, more = cluster.path("pods"), [], asyncio.Event()

        def changed(pod):
            states = [status.state for status in pod.status.container_statuses]
            told.append("ended" if states and states[0].terminated else pod.status.phase)
            more.set()

        async def until(word):
            while word not in told:
                more.clear()
                await more.wait()

        def gone(pod):
            told.append("gone")
            more.set()

        mirror = Mirror(api, [pods], Pod, selector="wanted=yes", changed=changed, gone=gone)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(mirror.run())
            await mirror.synced.wait()
            await api.create(pods, printing("other", "true"), Pod)
            labels, held = {"wanted": "yes"}, ["tesk.test/held"]
            made = await api.create(
                pods, printing("a", "echo one; echo two; exit 7", labels=labels, finalizers=held), Pod
            )
            await until("ended")
            seen = mirror.get(cluster.namespace, "a")
            assert seen.metadata.uid == made.metadata.uid
            (status,) = seen.status.container_statuses
            assert (status.name, status.state.terminated.exit_code, status.state.terminated.reason) == ("c", 7, "Error")
            assert status.state.terminated.started_at <= status.state.terminated.finished_at
            logs = [piece async for piece in api.logs(cluster.namespace, "a", "c", tail_lines=1)]
            assert b"".join(logs) == b"two\n"
            await api.delete(f"{pods}/a", uid=made.metadata.uid)
            assert (await api.get(f"{pods}/a", Pod)).metadata.deletion_timestamp is not None
            await api.patch(f"{pods}/a", {"metadata": {"finalizers": None}}, Bare)
            await until("gone")
            assert mirror.get(cluster.namespace, "other") is None
            running.cancel()
        assert api.calls[Rule("list", "pods")] == api.calls[Rule("watch", "pods")] == 1

    cluster.run(body)


def test_a_log_is_followed_through_a_silence_that_is_longer_than_an_answer_may_take(cluster):
    async def body(_):
        async with cluster.api(request_seconds=2.0) as api:
            pods = cluster.path("pods")
            made = await api.create(pods, printing("silent", "sleep 5; echo said"), Pod)
            watch = api.watch(pods, Pod, resource_version=made.metadata.resource_version)
            async with aclosing(watch) as events:
                async for event in events:
                    if event.object.metadata.name == "silent" and event.object.status.phase == "Running":
                        break
            logs = [piece async for piece in api.logs(cluster.namespace, "silent", "c", follow=True)]
            assert b"".join(logs) == b"said\n"

    cluster.run(body)


def test_refusals_are_told_apart(cluster):
    async def body(api):
        secrets, pods = cluster.path("secrets"), cluster.path("pods")
        made = await api.create(secrets, secret("a"), Bare)
        with pytest.raises(AlreadyExists, match='secrets "a" already exists'):
            await api.create(secrets, secret("a"), Bare)
        with pytest.raises(NotFound, match='"b" not found'):
            await api.get(f"{secrets}/b", Bare)
        with pytest.raises(Conflict, match=r"(?i)precondition"):
            await api.delete(f"{secrets}/a", uid="00000000-0000-0000-0000-000000000000")
        with pytest.raises(Invalid, match="name or generateName is required"):
            await api.create(secrets, secret(""), Bare)
        with pytest.raises(Invalid, match="nonsense"):
            await api.create(secrets, secret("c") | {"nonsense": 1}, Bare, strict=True)
        await api.create(secrets, secret("d"), Bare, dry_run=True)
        with pytest.raises(NotFound):
            await api.get(f"{secrets}/d", Bare)
        await api.create(pods, printing("quick", "true"), Bare)
        with pytest.raises(Invalid, match="container other is not valid for pod quick"):
            await anext(api.logs(cluster.namespace, "quick", "other"))
        assert (await api.get(f"{secrets}/a", Bare)) == made

    cluster.run(body)


def test_a_quota_is_told_from_what_is_not_allowed(cluster):
    async def body(api):
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
        hard = {"spec": {"hard": {"count/configmaps": "0"}}}
        await api.create(cluster.path("resourcequotas"), quota | hard, Bare)
        wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
        async with asyncio.timeout(30):
            # The quota is in force a moment after it was made.
            while (refused := await _refused(api.create(cluster.path("configmaps"), wanted, Bare))) is None:
                await api.delete(cluster.path("configmaps", "a"))
        assert "exceeded quota: few" in str(refused)
        assert refused.quota

    cluster.run(body)


async def _refused(create):
    try:
        await create
    except Forbidden as refused:
        return refused
    return None


def test_a_list_comes_in_pages_and_a_selector_chooses(cluster):
    async def body(api):
        secrets = cluster.path("secrets")
        await asyncio.gather(*(api.create(secrets, secret(f"p{n}", odd=str(n % 2)), Bare) for n in range(23)))
        before = api.calls[Rule("list", "secrets")]
        items, version = await api.list(secrets, Bare, selector="odd in (0,1)", limit=5)
        assert sorted(item.metadata.name for item in items) == sorted(f"p{n}" for n in range(23))
        assert api.calls[Rule("list", "secrets")] - before >= 5
        assert len((await api.list(secrets, Bare, selector="odd=1"))[0]) == 11
        await api.delete(f"{secrets}/p0")
        async with aclosing(api.watch(secrets, Bare, selector="odd", resource_version=version)) as events:
            event = await anext(events)
        assert (event.type, event.object.metadata.name) == ("DELETED", "p0")

    cluster.run(body)


async def has_forgotten_nothing(api, whole):
    with suppress(Gone):
        await api.get(whole, dict)
        return True
    return False


def test_trap_10_what_is_too_long_ago_is_gone(cluster):
    # Of events an API server keeps nothing in memory: what its store has forgotten is gone.
    token = base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","rv":1,"start":"a\\u0000"}').decode().rstrip("=")
    whole = f"{cluster.path('events')}?limit=1&continue={token}"

    async def body(api):
        if (etcd := store_of_the_cluster()) is not None:
            _, version = await api.list(cluster.path("events"), Bare)
            await asyncio.to_thread(compact, etcd, int(version))
        elif await has_forgotten_nothing(api, whole):
            pytest.skip("the cluster is younger than ten minutes, and CLUSTER_ETCD names no etcd that may be compacted")
        with pytest.raises(Gone, match="too old"):
            await api.get(whole, dict)
        with pytest.raises(Gone, match=r"too old|compacted"):
            async for _ in api.watch(cluster.path("events"), Bare, resource_version="1", lasts_seconds=5):
                pass

    cluster.run(body)


def test_a_watch_ends_when_it_was_to_end(cluster):
    async def body(api):
        _, version = await api.list(cluster.path("endpoints"), Bare)
        async for _ in api.watch(cluster.path("endpoints"), Bare, resource_version=version, lasts_seconds=1):
            pass

    cluster.run(body)


def test_an_object_is_applied_by_the_side_of_the_server(cluster):
    async def body(api):
        path = cluster.path("secrets", "applied")
        wanted = secret("applied", x="0")
        for value in ("1", "2"):
            wanted["metadata"]["labels"] = {"x": value}
            assert (await api.patch(path, wanted, Bare, kind="apply")).metadata.labels == {"x": value}
        test = [
            {"op": "test", "path": "/metadata/labels/x", "value": "1"},
            {"op": "remove", "path": "/metadata/labels"},
        ]
        with pytest.raises(Invalid):
            await api.patch(path, test, Bare, kind="json")
        test[0]["value"] = "2"
        assert (await api.patch(path, test, Bare, kind="json")).metadata.labels == {}

    cluster.run(body)


def test_what_we_may_do_can_be_asked_for(cluster):
    async def body(api):
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"namespace": cluster.namespace, "verb": "create", "resource": "pods"}},
        }
        path = path_of("selfsubjectaccessreviews", group="authorization.k8s.io/v1")
        answer = await api.create(path, review, dict)
        assert answer["status"]["allowed"] is True

    cluster.run(body)
