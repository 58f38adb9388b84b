"""Which cluster a backend's attempts belong to: servers of two, on one database, leave each other's alone."""

import asyncio

import pytest

from fakes.kubernetes_api import Answer, KubernetesApi
from fakes.pod_backend import opened, story
from tesk.errors import BackendUnavailable, StartError


def test_servers_of_two_clusters_with_one_server_id_leave_each_others_attempts_alone() -> None:
    async def body(cluster, backend):
        async with KubernetesApi().serving() as another, opened(another) as elsewhere, opened(cluster) as beside:
            assert beside.owns(backend.place)
            assert beside.abandoned(backend.place)
            assert not elsewhere.owns(backend.place)
            assert not elsewhere.abandoned(backend.place)

    story(body)


def test_what_was_begun_before_clusters_were_told_apart_is_still_somebodys() -> None:
    async def body(cluster, backend):
        assert backend.abandoned("kubernetes:here:us")
        assert not backend.owns("kubernetes:here:them")
        assert not backend.owns("kubernetes:here")

    story(body)


def test_no_place_is_named_before_the_cluster_has_said_which_it_is() -> None:
    async def whole():
        async with asyncio.timeout(30), KubernetesApi().serving() as cluster:
            cluster.next(*[Answer(500, "not now")] * 20, where="GET /api/v1/namespaces/here?")
            async with opened(cluster) as backend:
                assert not backend.place
                with pytest.raises(BackendUnavailable):
                    await backend.capacity()
                cluster.faults.clear()
                assert await backend.capacity() is None
                assert backend.place == f"kubernetes:here:us:{cluster.uid}"

    asyncio.run(whole())


def test_a_role_that_hides_the_namespace_is_said_at_the_start() -> None:
    async def whole():
        async with asyncio.timeout(30), KubernetesApi().serving() as cluster:
            no = Answer(403, 'namespaces "here" is forbidden: User "us" cannot get resource "namespaces"', "Forbidden")
            cluster.next(no, where="GET /api/v1/namespaces/here?")
            with pytest.raises(StartError, match="cannot get resource"):
                async with opened(cluster):
                    pass

    asyncio.run(whole())
