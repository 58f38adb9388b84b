"""What is known of a cluster is what is there, however its watches end. Trap 10."""

import asyncio
import contextlib
import itertools
import random

import pytest

from fakes.kubernetes_api import CUT, SILENT, Answer, KubernetesApi, status
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.credentials import Access
from tesk.compute.kubernetes.kubeconfig import Cluster, User
from tesk.compute.kubernetes.objects import Pod, path_of
from tesk.compute.kubernetes.watch import Mirror

ALL = (path_of("pods"),)


class Seen:
    """What a mirror told, and a way to wait for it."""

    def __init__(self):
        self.told = []
        self.more = asyncio.Event()

    def changed(self, pod):
        self._tell("changed", pod)

    def gone(self, pod):
        self._tell("gone", pod)

    def _tell(self, how, pod):
        self.told.append((how, pod.metadata.name))
        self.more.set()

    async def until(self, *told):
        """Wait until this was told, in that order, and forget it."""
        async with asyncio.timeout(20):
            while self.told[: len(told)] != list(told):
                self.more.clear()
                await self.more.wait()
        del self.told[: len(told)]


@contextlib.asynccontextmanager
async def mirrored(server, *, paths=ALL, **given):
    access = Access(Cluster(server=server.url), User(), "ns", environment={})
    async with Api(access, request_seconds=2.0, **given) as api:
        seen = Seen()
        mirror = Mirror(api, paths, Pod, changed=seen.changed, gone=seen.gone, pause_seconds=0.05)
        running = asyncio.create_task(mirror.run())
        try:
            yield mirror, seen
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


def run(body, **given):
    """Run `body(server, mirror, seen)` once pod `a` is known and a watch goes on from there."""

    async def whole():
        async with asyncio.timeout(60), KubernetesApi().serving() as server:
            server.put("pods", "ns", "a")
            async with mirrored(server, **given) as (mirror, seen):
                await seen.until(("changed", "a"))
                await mirror.synced.wait()
                await server.watched(len(given.get("paths", ALL)))
                await body(server, mirror, seen)

    asyncio.run(whole())


def names(mirror):
    return sorted(pod.metadata.name for pod in mirror)


def test_what_changes_is_told_once():
    async def body(server, mirror, seen):
        server.put("pods", "ns", "b")
        server.put("pods", "ns", "a", status={"phase": "Running"})
        server.remove("pods", "ns", "b")
        await seen.until(("changed", "b"), ("changed", "a"), ("gone", "b"))
        assert mirror.get("ns", "a").status.phase == "Running"
        assert mirror.get("ns", "b") is None
        assert (names(mirror), len(mirror), seen.told) == (["a"], 1, [])

    run(body)


@pytest.mark.parametrize("end", [None, CUT, status(500, "cannot decode"), status(429, "busy")])
def test_a_watch_that_ends_goes_on_where_it_was(end):
    async def body(server, mirror, seen):
        server.bookmark()
        server.put("pods", "ns", "b")
        await seen.until(("changed", "b"))
        await server.end_watches(end)
        server.put("pods", "ns", "c")
        await seen.until(("changed", "c"))
        assert len(server.asked("GET")) == 3, "one list, two watches"
        assert seen.told == []

    run(body)


@pytest.mark.parametrize("in_the_answer", [True, False])
def test_trap_10_watches_end_and_what_was_missed_is_found_in_both_directions(in_the_answer):
    async def body(server, mirror, seen):
        server.gone_in_the_answer = in_the_answer
        server.put("pods", "ns", "same")
        server.put("pods", "ns", "again")
        await seen.until(("changed", "same"), ("changed", "again"))
        server.next(SILENT, where="watch=true")
        await server.end_watches()
        # What happens now no watch has seen, and none will: it is too long ago when the next one comes.
        server.remove("pods", "ns", "a")
        server.put("pods", "ns", "b")
        server.remove("pods", "ns", "again")
        server.put("pods", "ns", "again")
        server.forget()
        await seen.until(("gone", "a"), ("gone", "again"), ("changed", "again"), ("changed", "b"))
        assert (names(mirror), seen.told) == (["again", "b", "same"], [])
        await server.watched()
        server.put("pods", "ns", "c")
        await seen.until(("changed", "c"))

    run(body, idle_seconds=0.5)


def test_trap_10_an_error_in_the_stream_that_says_gone_is_followed_by_a_list():
    async def body(server, mirror, seen):
        server.changes.clear()
        server.objects.pop(("pods", "ns", "a"))
        await server.end_watches(status(410, "too old resource version", "Expired"))
        await seen.until(("gone", "a"))

    run(body)


def test_a_list_that_is_gone_in_the_middle_is_begun_again():
    async def whole():
        async with asyncio.timeout(60), KubernetesApi().serving() as server:
            for number in range(600):
                server.put("pods", "ns", f"p{number:04}")
            server.next(Answer(410, "The provided continue parameter is too old", "Expired"), where="continue=")
            async with mirrored(server) as (mirror, _):
                await mirror.synced.wait()
                assert len(mirror) == 600

    asyncio.run(whole())


def test_a_server_that_is_down_is_waited_for_and_then_known_again():
    async def whole():
        server = KubernetesApi()
        async with asyncio.timeout(60):
            async with server.serving():
                server.put("pods", "ns", "a")
                context = mirrored(server)
                mirror, seen = await context.__aenter__()
                await seen.until(("changed", "a"))
                await server.watched()
            assert names(mirror) == ["a"], "what was known is not forgotten"
            server.remove("pods", "ns", "a")
            server.put("pods", "ns", "b")
            async with server.serving(server.port):
                await seen.until(("gone", "a"), ("changed", "b"))
                await context.__aexit__(None, None, None)

    asyncio.run(whole())


def test_a_server_whose_watches_end_at_once_is_not_asked_without_a_pause():
    async def body(server, mirror, seen):
        began = asyncio.get_running_loop().time()
        for _ in range(5):
            await server.end_watches()
            await server.watched()
        assert asyncio.get_running_loop().time() - began > 0.05 * 0.5 * (1 + 2 + 4 + 8 + 16)

    run(body)


def test_a_connection_that_is_only_half_there_is_found_by_its_silence():
    async def body(server, mirror, seen):
        queue = next(iter(server.watchers))
        del server.watchers[queue]  # it stays open, and nothing comes
        server.put("pods", "ns", "b")
        await seen.until(("changed", "b"))

    run(body, idle_seconds=0.5)


def test_bookmarks_say_that_it_is_fresh():
    async def body(server, mirror, seen):
        server.bookmark()
        server.put("pods", "ns", "b")
        await seen.until(("changed", "b"))
        assert mirror.age_seconds() < 5

    run(body)


def test_several_namespaces_are_one_mirror():
    async def body(server, mirror, seen):
        server.put("pods", "other", "a")
        server.put("pods", "third", "x")
        await seen.until(("changed", "a"))
        assert [mirror.get(namespace, "a").metadata.namespace for namespace in ("ns", "other")] == ["ns", "other"]
        assert mirror.get("third", "x") is None

    run(body, paths=(path_of("pods", "ns"), path_of("pods", "other")))


def test_it_is_synced_only_when_all_was_listed():
    async def whole():
        async with asyncio.timeout(60), KubernetesApi().serving() as server:
            server.next(Answer(403, "pods is forbidden", "Forbidden"), where="namespaces/two/pods")
            async with mirrored(server, paths=(path_of("pods", "one"), path_of("pods", "two"))) as (mirror, _):
                await server.watched()
                assert not mirror.synced.is_set()
                await mirror.synced.wait()

    asyncio.run(whole())


def test_whatever_happens_what_is_known_is_what_is_there():
    async def body(server, mirror, seen):
        chance = random.Random(7)
        for _ in range(400):
            name = f"p{chance.randrange(12)}"
            match chance.randrange(12):
                case 0:
                    await server.end_watches(chance.choice([None, CUT, status(410, "old", "Expired"), status(500)]))
                case 1:
                    server.forget()
                case 2 | 3 | 4:
                    if ("pods", "ns", name) in server.objects:
                        server.remove("pods", "ns", name)
                case 5:
                    server.bookmark()
                case _:
                    server.put("pods", "ns", name, status={"phase": chance.choice(["Pending", "Running"])})
            if chance.randrange(8) == 0:
                await server.watched()
        server.put("pods", "ns", "last")
        async with asyncio.timeout(20):
            while ("changed", "last") not in seen.told:
                seen.more.clear()
                await seen.more.wait()
        there = {key[2]: value["metadata"]["resourceVersion"] for key, value in server.objects.items()}
        assert {pod.metadata.name: pod.metadata.resource_version for pod in mirror} == there
        known = set()
        for how, name in itertools.chain([("changed", "a")], seen.told):
            (known.add if how == "changed" else known.discard)(name)
        assert known == set(there), "who listens to all of it knows as much"

    run(body)
