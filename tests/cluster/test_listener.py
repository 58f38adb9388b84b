"""The chart's listener on a real cluster: tasks tell it by its service's name, clients wait at it. Values: tests/chart."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import postgres
from cluster.release import Reached, Release, host_address, images, kubectl, left_in, namespace, shown, tools
from cluster.test_chart import script
from tesk.listener import Remote, Subscribed

WAIT_SECONDS = 120.0
"""Less than the time after which a listener asks for what it was not told (`quiet_seconds`)."""


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    tools()
    images()


@pytest.fixture(scope="module")
def release() -> Iterator[Release]:
    """A release whose server and listener are reached by each other, by its own test, and by nobody else."""
    with namespace() as place, tempfile.TemporaryDirectory() as folder:
        policy = {"from": [{"podSelector": {"matchLabels": {"nobody": "has-it"}}}]}
        made = Release(place, Path(folder), listener={"enabled": True, "networkPolicy": policy}, networkPolicy=policy)
        assert f"http://tesk-listener.{place}.svc/webhook" in made.install()
        yield made
        made.uninstall()
        assert left_in(place) == []


def submitted(server: Reached, made: Release, count: int, *, told: bool = True) -> list[str]:
    """Submit tasks that tell the listener, signed, by the name of its service."""
    where = {"callback_url": f"http://tesk-listener.{made.namespace}.svc/webhook"} if told else {}
    return [server.submit(script(f"exit {number % 2}", **where)) for number in range(count)]


def ends(url: str, token: str, task_ids: list[str]) -> dict[str, str]:
    """Wait at a listener for the ends of tasks, on one connection; return their states."""

    async def wait() -> dict[str, str]:
        async with asyncio.timeout(WAIT_SECONDS), Remote(url, token=token) as listener:
            return {told.id: told.state async for told in listener.ends(task_ids)}

    return asyncio.run(wait())


def subscribed(url: str, token: str, server: str, server_token: str) -> Subscribed:
    async def subscribe() -> Subscribed:
        async with Remote(url, token=token) as listener:
            return await listener.subscribe(server=server, server_token=server_token)

    return asyncio.run(subscribe())


def as_submitted(task_ids: list[str]) -> dict[str, str]:
    return {each: ("COMPLETE", "EXECUTOR_ERROR")[number % 2] for number, each in enumerate(task_ids)}


def test_tasks_tell_the_listener_in_the_cluster_and_nobody_had_to_set_anything(release: Release) -> None:
    assert "the listener was told: COMPLETE" in release.helm("test", "tesk", "--logs")
    secrets = {key: release.secret("tesk-listener", key) for key in ("token", "key", "server-token")}
    with release.reached() as server, release.forwarded("tesk-listener") as url:
        ids = submitted(server, release, 4)
        assert ends(url, secrets["token"], ids) == as_submitted(ids)

    [first] = release.pods("listener")
    release.install(settings={"listener": {"quiet_seconds": 2}})
    [second] = release.pods("listener")
    assert second["metadata"]["uid"] != first["metadata"]["uid"], "a changed setting makes a new pod"
    assert {key: release.secret("tesk-listener", key) for key in secrets} == secrets, "an upgrade keeps them"
    with release.reached() as server, release.forwarded("tesk-listener") as url:
        assert ends(url, secrets["token"], ids) == as_submitted(ids), "what was heard outlives the pod"
        untold = submitted(server, release, 2, told=False)
        assert ends(url, secrets["token"], untold) == as_submitted(untold), "it asks the server, by its own token"
        own = subscribed(url, secrets["token"], f"http://tesk.{release.namespace}.svc", server.token)
        [told] = [server.submit(script("exit 0", callback_url=own.callback_url))]
        assert ends(url, own.token, [told, *untold]) == as_submitted(untold) | {told: "COMPLETE"}, "or by a user's"


def test_several_share_the_servers_postgresql_and_who_waits_at_one_hears_what_another_is_told(release: Release) -> None:
    try:
        database = postgres.running(host_address(release.pods()[0]))
    except postgres.Missing as missing:
        pytest.skip(str(missing))
    with database as there:
        old = release.pods("listener")
        release.install(
            database={"url": there.new_database()},
            listener={"replicas": 2},
            settings={"listener": {"quiet_seconds": 600}},
        )
        for pod in old:
            kubectl("-n", release.namespace, "wait", "--for=delete", f"pod/{pod['metadata']['name']}", "--timeout=60s")
        assert len(release.pods("listener")) == 2
        assert shown("pvc", "-n", release.namespace) == []
        token = release.secret("tesk-listener")
        with release.reached() as server, release.forwarded("tesk-listener") as url:
            ids = submitted(server, release, 8)
            assert ends(url, token, ids) == as_submitted(ids)
