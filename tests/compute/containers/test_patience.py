"""An engine that does not answer, a disk that takes nothing: what waits for them, and what does not."""

import asyncio
import time
from pathlib import Path

import pytest

from fakes.attempts import new_attempt, plan, shell, stdout, until
from tesk.compute.containers.arguments import Facts
from tesk.compute.containers.engine import Engine
from tesk.compute.containers.removal import Removal
from tesk.errors import BackendUnavailable

FACTS = Facts(kind="podman", version="4", rootless=False, controllers=frozenset(), cores=1, init=False)


def test_a_server_that_ends_does_not_wait_for_an_engine_that_hangs(tmp_path: Path) -> None:
    program = tmp_path / "podman"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)

    async def story() -> None:
        removal = Removal(Engine(str(program), FACTS), close_seconds=0.5)
        removal.open()
        removal.later("some-container")
        await removal.close()

    began = time.monotonic()
    asyncio.run(story())
    assert time.monotonic() - began < 20


def test_an_attempt_whose_folder_cannot_be_made_may_be_started_later(backend, tmp_path: Path) -> None:
    async def story() -> None:
        attempt = new_attempt()
        attempts, aside = tmp_path / "containers/attempts", tmp_path / "aside"
        async with backend() as place:
            attempts.rename(aside)
            attempts.touch()
            with pytest.raises(BackendUnavailable, match="cannot be made now"):
                await place.start(attempt, plan(shell("echo fine")))
            attempts.unlink()
            aside.rename(attempts)
            await place.start(attempt, plan(shell("echo fine")))
            assert stdout(await until(place, attempt)) == "fine\n"
            await place.forget(attempt)

    asyncio.run(story())
