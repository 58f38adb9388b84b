"""Images that tasks name by `trs://`."""

import asyncio
from pathlib import Path

import pytest

from fakes.attempts import finish, plan, stdout
from fakes.engine import IMAGE, Engine, containers
from tesk.compute.backend import Observation, Phase
from tesk.errors import TransferError, TransferFailed, TransferRefused
from tesk.tes.task import Executor

TOOL = "trs://registry.example.org/bwa/versions/1"


def ran(folder: Path, answer: str | TransferError) -> Observation:
    async def resolve(name: str, caller: str) -> str:
        if isinstance(answer, TransferError):
            raise answer
        return answer if name == TOOL else name

    async def story() -> Observation:
        async with containers(folder, resolve=resolve) as place:
            executors = [Executor(image=name, command=("echo", name)) for name in (TOOL, "debian")]
            return await finish(place, plan(*executors))

    return asyncio.run(story())


def test_a_tool_runs_in_its_image_and_the_log_says_in_which(engine: Engine, tmp_path: Path) -> None:
    seen = ran(tmp_path, IMAGE)
    assert stdout(seen) == f"{TOOL}\n"
    assert seen.metadata["executors.0.image"] == TOOL
    assert seen.metadata["executors.0.image_resolved"] == IMAGE
    assert seen.metadata["executors.0.image_digest"] == seen.metadata["executors.1.image_digest"]
    assert "executors.1.image_resolved" not in seen.metadata


@pytest.mark.parametrize(("error", "final"), [(TransferRefused, True), (TransferFailed, False)])
def test_a_tool_that_cannot_be_looked_up_ends_the_attempt_in_the_registrys_words(
    engine: Engine, tmp_path: Path, error: type[TransferError], final: bool
) -> None:
    seen = ran(tmp_path, error(f"{TOOL}: registry.example.org knows no version 1"))
    assert (seen.phase, seen.final) == (Phase.SYSTEM_FAILED, final)
    assert seen.reason == f"{TOOL}: registry.example.org knows no version 1"


def test_a_tool_whose_image_is_a_way_to_files_of_the_machine_is_refused(engine: Engine, tmp_path: Path) -> None:
    seen = ran(tmp_path, "dir:/etc")
    assert (seen.phase, seen.final) == (Phase.SYSTEM_FAILED, True)
    assert "is no name of an image" in (seen.reason or "")
