"""What the backend asks of a cluster, as its client counts it, is the list of rights: no more, and none for nothing."""

import asyncio

from fakes.attempts import finish, new_attempt, plan, shell, wait_for_words
from fakes.pods import opened, settings
from tesk.compute.backend import Phase
from tesk.compute.kubernetes.backend import KubernetesBackend
from tesk.compute.kubernetes.objects import Rule
from tesk.compute.kubernetes.rights import ALWAYS, rights

BOUND_SECONDS = 120
SMALL = {"cpu_cores": 0.05, "ram_bytes": 10**8}
EVERYBODYS = Rule("get", "")
"""/version."""


def asked(namespace: str, body, **more) -> tuple[set[Rule], set[Rule]]:
    """Return what a backend asked for while `body` went on, and what it has a right to."""
    given = settings(namespace, **more)

    async def whole() -> set[Rule]:
        async with asyncio.timeout(BOUND_SECONDS), opened(KubernetesBackend, given) as backend:
            await body(backend)
            return {*backend.api.calls}

    return asyncio.run(whole()) - {EVERYBODYS}, {*rights(given)}


async def whole_life(backend: KubernetesBackend) -> None:
    """One that ends and is kept for people, one that is looked at and stopped, one that there is not."""
    assert (await finish(backend, plan(shell("true"), **SMALL))).phase is Phase.DONE
    attempt = new_attempt()
    await backend.start(attempt, plan(shell("echo words; sleep 100"), **SMALL))
    await wait_for_words(backend, attempt, b"words")
    known = backend._pods.get(attempt)
    assert known is not None
    await backend._cluster.events(known.pod)
    await backend.stop(attempt, 0)
    await backend.forget(attempt)
    assert (await backend.observe(new_attempt())).phase is Phase.ABSENT


def test_what_is_asked_for_is_what_the_list_has(pods_namespace):
    used, allowed = asked(pods_namespace, whole_life, keep_seconds=3600)
    assert used == allowed == {*ALWAYS}


async def in_a_queue(backend: KubernetesBackend) -> None:
    """One that nobody admits."""
    attempt = new_attempt()
    await backend.start(attempt, plan(shell("true"), **SMALL))
    assert (await backend.observe(attempt)).phase is Phase.WAITING
    await backend.start(attempt, plan(shell("true"), **SMALL))
    await backend.forget(attempt)


def test_with_a_queue_it_asks_for_jobs_too(pods_namespace):
    used, allowed = asked(pods_namespace, in_a_queue, queue="nobody-admits")
    assert {rule for rule in used if rule.group} == allowed - {*ALWAYS}
    assert used <= allowed
