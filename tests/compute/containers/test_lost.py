"""What the engine loses sight of: who held a container was killed, and told nobody of its end."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from fakes.attempts import new_attempt, plan, shell, until, wait_for_words
from fakes.engine import KIND, Engine
from tesk.compute.backend import Phase

pytestmark = pytest.mark.skipif(KIND != "podman", reason="docker's daemon holds its containers itself")


def kill_holder(folder: Path, attempt) -> None:
    os.kill(int((folder / f"containers/attempts/{attempt}/own/0/conmon").read_text()), signal.SIGKILL)


def assert_lost(seen, engine: Engine, attempt) -> None:
    assert (seen.phase, seen.final) == (Phase.SYSTEM_FAILED, False)
    assert "nobody saw its end" in (seen.reason or "")
    assert engine.run("ps", "--all", "--quiet", "--filter", f"label=tesk.attempt={attempt}") == ""


def test_a_container_whose_holder_was_killed_ends_its_attempt(backend, engine: Engine, tmp_path: Path) -> None:
    async def story() -> None:
        one, stopped = new_attempt(), new_attempt()
        async with backend() as place:
            for attempt in (one, stopped):
                await place.start(attempt, plan(shell("echo begun; sleep 1000")))
                await wait_for_words(place, attempt, b"begun")
                kill_holder(tmp_path, attempt)
            await place.stop(stopped, 0)
            assert_lost(await until(place, one), engine, one)
            assert (await until(place, stopped)).phase is Phase.PREEMPTED
            for attempt in (one, stopped):
                await place.forget(attempt)

    asyncio.run(story())


def test_a_container_whose_holder_was_killed_is_not_waited_for_by_the_next_server(
    backend, engine: Engine, tmp_path: Path
) -> None:
    async def story() -> None:
        attempt = new_attempt()
        async with backend() as before:
            await before.start(attempt, plan(shell("echo begun; sleep 1000")))
            await wait_for_words(before, attempt, b"begun")
        kill_holder(tmp_path, attempt)
        async with backend() as after:
            assert_lost(await until(after, attempt), engine, attempt)
            await after.forget(attempt)

    asyncio.run(story())


def test_a_journal_that_nobody_understands_ends_what_runs(backend, engine: Engine, tmp_path: Path) -> None:
    async def story() -> None:
        attempt = new_attempt()
        async with backend() as before:
            await before.start(attempt, plan(shell("echo begun; sleep 1000")))
            await wait_for_words(before, attempt, b"begun")
        journal = tmp_path / f"containers/attempts/{attempt}/journal"
        journal.write_text(json.dumps({"of": "another time"}))
        async with backend() as after:
            assert (await after.observe(attempt)).phase is Phase.ABSENT
            assert engine.run("ps", "--quiet", "--filter", f"label=tesk.attempt={attempt}") == ""

    asyncio.run(story())
