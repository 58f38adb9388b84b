"""The client and the mirror over a way to the cluster that breaks: nobody else in the cluster notices."""

import asyncio
import contextlib
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace

from fakes.relay import Relay
from tesk.compute.kubernetes import kubeconfig
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.credentials import Access
from tesk.compute.kubernetes.objects import Bare
from tesk.compute.kubernetes.refusals import AlreadyExists, Unanswered
from tesk.compute.kubernetes.watch import Mirror


@contextlib.asynccontextmanager
async def broken_way(**given):
    """Give a relay to the cluster that KUBECONFIG names, and a client that goes through it."""
    files = [Path(each) for each in os.environ["KUBECONFIG"].split(":") if each]
    found = kubeconfig.chosen([kubeconfig.read(path, path.read_bytes()) for path in files if path.exists()])
    parts = urlsplit(found.cluster.server)
    async with Relay(parts.hostname, parts.port or 443).serving() as relay:
        server = f"{parts.scheme}://127.0.0.1:{relay.port}"
        name = found.cluster.tls_server_name or parts.hostname
        cluster = replace(found.cluster, server=server, tls_server_name=name)
        async with Api(Access(cluster, found.user, found.namespace, environment={}), **given) as api:
            yield relay, api


def secret(name, **labels):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}}


class Known:
    """What a mirror told, put together."""

    def __init__(self):
        self.names = set()
        self.more = asyncio.Event()

    def changed(self, item):
        self.names.add(item.metadata.name)
        self.more.set()

    def gone(self, item):
        self.names.discard(item.metadata.name)
        self.more.set()

    async def until(self, *names):
        while self.names != set(names):
            self.more.clear()
            await self.more.wait()


@pytest.mark.parametrize("how", ["cut", "hold", "close"])
def test_trap_10_what_happens_while_the_way_is_broken_is_known_afterwards(cluster, how):
    async def body(straight):
        secrets, known = cluster.path("secrets"), Known()
        async with broken_way(request_seconds=3.0, idle_seconds=2.0) as (relay, api):
            mirror = Mirror(api, [secrets], Bare, selector=f"way={how}", changed=known.changed, gone=known.gone)
            running = asyncio.create_task(mirror.run())
            for name in ("a", "b"):
                await straight.create(secrets, secret(f"{how}-{name}", way=how), Bare)
            await known.until(f"{how}-a", f"{how}-b")
            getattr(relay, how)()
            await straight.delete(f"{secrets}/{how}-a")
            await straight.create(secrets, secret(f"{how}-c", way=how), Bare)
            relay.open()
            await known.until(f"{how}-b", f"{how}-c")
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    cluster.run(body)


def test_trap_12_a_way_that_is_closed_is_waited_for_and_one_that_stays_closed_is_told_of(cluster):
    async def body(straight):
        secrets = cluster.path("secrets")
        async with broken_way(request_seconds=3.0) as (relay, api):
            await api.create(secrets, secret("first"), Bare)
            relay.close()
            with pytest.raises(Unanswered, match=r"the API server of the cluster .* does not answer"):
                await api.get(f"{secrets}/first", Bare)
            waiting = asyncio.create_task(api.get(f"{secrets}/first", Bare))
            for _ in range(2):
                relay.connected.clear()
                await relay.connected.wait()
            relay.open()
            assert (await waiting).metadata.name == "first"

    cluster.run(body)


async def _create_at_last(api, path, body):
    """Create as who must: again where nobody knows what became of it."""
    while True:
        with contextlib.suppress(Unanswered):
            return await api.create(path, body, Bare)


def test_trap_12_a_create_whose_answer_was_lost_is_found_by_its_name(cluster):
    async def body(straight):
        secrets = cluster.path("secrets")
        async with broken_way(request_seconds=2.0) as (relay, api):
            made = asyncio.create_task(api.create(secrets, secret("lost"), Bare))
            async with contextlib.aclosing(straight.watch(secrets, Bare, resource_version="0")) as events:
                async for event in events:
                    if event.object.metadata.name == "lost":
                        break
            relay.cut()
            # The answer may have been there before the cut: either way it is made once.
            with contextlib.suppress(Unanswered):
                await made
            with pytest.raises(AlreadyExists):
                await _create_at_last(api, secrets, secret("lost"))

    cluster.run(body)
