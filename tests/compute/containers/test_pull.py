"""Images that come from a registry: by the policy of the settings, once for all who want them, known by their digests."""

import asyncio
from pathlib import Path

import pytest

from fakes import registry as registries
from fakes.attempts import codes, finish, new_attempt, plan, until
from fakes.engine import Engine
from tesk.compute.backend import Phase
from tesk.tes.task import Executor


@pytest.fixture
def registry(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Give a registry that the engine may ask without TLS."""
    with registries.running() as registry:
        conf = tmp_path / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "localhost:{registry.port}"\ninsecure = true\n')
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
        yield registry


def offered(engine: Engine, registry, tmp_path: Path, which: str) -> str:
    """Have the registry offer an image with the file `/which`, and the engine not; return its digest."""
    engine.build("localhost/made:1", files={"which": which.encode()})
    layout = tmp_path / f"layout-{which}"
    engine.run("save", "--format", "oci-dir", "--output", str(layout), "localhost/made:1")
    engine.run("rmi", "localhost/made:1")
    return registry.add("team/tool", layout)


def manifests(registry) -> int:
    """How often an image was asked for."""
    return sum("/manifests/1" in path for path in registry.asked)


def test_an_image_is_fetched_once_for_all_who_want_it_and_known_by_its_digest(
    backend, engine: Engine, registry, tmp_path
) -> None:
    digest = offered(engine, registry, tmp_path, "one")
    name = f"localhost:{registry.port}/team/tool:1"

    async def story() -> None:
        async with backend(pull="missing") as place:
            task = plan(Executor(image=name, command=("grep", "-q", "one", "/which")))
            first, second = await asyncio.gather(finish_apart(place, task), finish_apart(place, task))
            assert (codes(first), codes(second)) == ([0], [0]), first
            assert manifests(registry) == 1
            assert first.metadata["executors.0.image_digest"] == digest
            offered(engine, registry, tmp_path, "two")
            assert codes(await finish(place, task)) == [0]
            assert manifests(registry) == 1
            by_digest = await finish(place, plan(Executor(image=f"{name[:-2]}@{digest}", command=("true",))))
            assert by_digest.metadata["executors.0.image_digest"] == digest
        async with backend(pull="always") as place:
            task = plan(Executor(image=name, command=("grep", "-q", "two", "/which")))
            assert codes(await finish(place, task)) == [0]
            assert codes(await finish(place, task)) == [0]
            assert manifests(registry) == 3

    asyncio.run(story())


async def finish_apart(place, task):
    """Run a plan to its end beside others: each looks for itself."""
    attempt = new_attempt()
    await place.start(attempt, task)
    while not (seen := await place.observe(attempt)).phase.ended:  # noqa: ASYNC110  the signals go to one of them only
        await asyncio.sleep(0.02)
    await place.forget(attempt)
    return seen


def test_what_a_registry_does_not_have_is_final(backend, registry) -> None:
    async def story() -> None:
        async with backend(pull="missing") as place:
            seen = await finish(place, plan(Executor(image=f"localhost:{registry.port}/no/such", command=("true",))))
            assert (seen.phase, seen.final) == (Phase.SYSTEM_FAILED, True)
            assert "manifest unknown" in seen.reason

    asyncio.run(story())


def test_a_stop_ends_an_attempt_while_its_image_is_fetched(backend, registry) -> None:
    async def story() -> None:
        registry.hang.set()
        async with backend(pull="missing") as place:
            attempt = new_attempt()
            await place.start(attempt, plan(Executor(image=f"localhost:{registry.port}/slow:1", command=("true",))))
            assert await asyncio.to_thread(registry.hung.wait, 60)
            assert (await place.observe(attempt)).phase is Phase.STAGING
            await place.stop(attempt, 20)
            assert (await until(place, attempt)).phase is Phase.PREEMPTED
            await place.forget(attempt)

    asyncio.run(story())
