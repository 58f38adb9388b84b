"""Servers with data folders of their own, on one engine: each sees its own containers alone."""

import asyncio
import shutil
from pathlib import Path

from fakes.attempts import new_attempt, plan, shell, stdout, until, wait_for_words
from fakes.engine import Engine, containers
from tesk.compute.backend import Phase

WAITS = "echo begun; while [ ! -e /data/go ]; do sleep 0.05; done; echo ended"


def names(engine: Engine, attempt) -> list[str]:
    """The containers of an attempt that run."""
    return engine.run("ps", "--format", "{{.Names}}", "--filter", f"label=tesk.attempt={attempt}").split()


def test_a_server_never_touches_the_containers_of_another(engine: Engine, tmp_path: Path) -> None:
    async def story() -> None:
        attempt = new_attempt()  # the same for both: each has a database of its own
        one, other = tmp_path / "one", tmp_path / "other"
        async with containers(one) as before:
            await before.start(attempt, plan(shell(WAITS), volumes=("/data",)))
            await wait_for_words(before, attempt, b"begun")
            place = before.place
        [ours] = names(engine, attempt)
        async with containers(other) as beside:
            assert not beside.owns(place)
            assert not beside.abandoned(place)
            assert [each async for each in beside.existing()] == []
            assert (await beside.observe(attempt)).phase is Phase.ABSENT
            await beside.stop(attempt, 0)
            await beside.forget(attempt)
            await beside.start(attempt, plan(shell(WAITS), volumes=("/data",)))
            await wait_for_words(beside, attempt, b"begun")
            assert len(names(engine, attempt)) == 2
            await beside.forget(attempt)
            assert await beside.orphans() == {}
        assert names(engine, attempt) == [ours]
        async with containers(one) as after:
            assert (await after.observe(attempt)).phase is Phase.RUNNING
            (one / f"containers/attempts/{attempt}/root/data/go").touch()
            assert stdout(await until(after, attempt)) == "begun\nended\n"
            await after.forget(attempt)

    asyncio.run(story())


def test_containers_whose_folder_is_gone_are_named_and_left_to_a_person(engine: Engine, tmp_path: Path) -> None:
    async def story() -> None:
        attempt = new_attempt()
        lost, other = tmp_path / "lost", tmp_path / "other"
        (other / "containers").mkdir(parents=True)  # before the lost one goes, whose number another may get
        async with containers(lost) as before:
            await before.start(attempt, plan(shell("echo begun; sleep 1000")))
            await wait_for_words(before, attempt, b"begun")
        [name] = names(engine, attempt)
        shutil.rmtree(lost)
        async with containers(other) as beside:
            assert await beside.orphans() == {str(lost / "containers"): [name]}
            assert [each async for each in beside.existing()] == []
        assert names(engine, attempt) == [name]
        engine.remove(name)

    asyncio.run(story())
