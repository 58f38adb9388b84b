"""Inputs that come to whoever an executor is: files, folders, and named pipes that a server serves while it lives."""

import asyncio
import os
from pathlib import Path

import pytest

from fakes.attempts import ShelfStager, finish, new_attempt, plan, shell, stdout, until, wait_for_words
from fakes.engine import Engine
from fakes.web import Files, serve
from tesk.compute.backend import Phase
from tesk.inside import Inside
from tesk.settings import FileRoot, StorageSettings
from tesk.stager.host import HostStager
from tesk.tes.task import FileType, Input
from tesk.transfer import TransferReport

STREAMED = Input(path="/in/pipe", url="http://example.org/pipe", streamable=True)
DATA = b"all of it\n" * 30_000


class PipeStager(ShelfStager):
    """Makes pipes that nobody writes into."""

    async def fetch(self, transfers, root, owner, told=None):
        with Inside(root) as inside:
            for index in transfers.pipes:
                path = transfers.inputs[index].path
                inside.make_folders(os.path.dirname(path))
                os.close(inside.make_pipe(path))
        return TransferReport(pipes=transfers.pipes)

    async def feed(self, transfers, root, owner, *, over, broken, told):
        assert transfers.pipes
        await over
        return TransferReport()


class CannotFeed(PipeStager):
    """Has pipes, and no program that serves them."""

    async def feed(self, transfers, root, owner, *, over, broken, told):
        over.close()
        raise OSError(11, "Resource temporarily unavailable")


def test_an_image_whose_user_is_not_root_reads_inputs_of_any_mode(backend, engine: Engine, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "folder/inner").mkdir(mode=0o700, parents=True)
    for name in ("file", "folder/inner/file"):
        (source / name).write_text("x")
        (source / name).chmod(0o600)
    (source / "folder").chmod(0o700)
    (source / "folder/inner/file").chmod(0o700)
    inputs = (
        Input(path="/in/file", url=str(source / "file")),
        Input(path="/in/folder", url=str(source / "folder"), type=FileType.DIRECTORY),
        Input(path="/in/content", content="y"),
        Input(path="/etc/one", url=str(source / "file")),
    )
    script = "id -u; cat /in/file /in/folder/inner/file /in/content /etc/one; stat -c ' %a' /in/folder/inner/file"

    async def story() -> None:
        with serve(Files, {"/pipe": DATA}) as web:
            streamed = Input(path="/in/pipe", url=f"{web.url}/pipe", streamable=True)
            stager = HostStager(StorageSettings(file_roots=(FileRoot(path=str(tmp_path)),), private_addresses=True))
            async with backend(stager, user="1234:1234") as place:
                what = plan(shell(f"{script}; test -p /in/pipe && wc -c </in/pipe"), inputs=(*inputs, streamed))
                assert stdout(await finish(place, what)) == f"1234\nxxyx 755\n{len(DATA)}\n"
            stager.close()

    asyncio.run(story())


def test_what_was_served_by_a_server_that_went_away_is_ended_and_begun_anew(backend, engine: Engine) -> None:
    async def story() -> None:
        attempt = new_attempt()
        async with backend(PipeStager()) as before:
            await before.start(attempt, plan(shell("true"), shell("echo begun; cat /in/pipe"), inputs=(STREAMED,)))
            await wait_for_words(before, attempt, b"begun", 1)
        async with backend() as after:
            seen = await until(after, attempt)
            running = engine.run("ps", "--quiet", "--filter", f"label=tesk.attempt={attempt}")
            assert (seen.phase, seen.ours, running) == (Phase.PREEMPTED, True, "")
            assert "named pipes" in (seen.reason or "")
            await after.forget(attempt)

    asyncio.run(story())


@pytest.mark.parametrize("executors", [1, 2])
def test_a_task_whose_pipes_cannot_be_served_does_not_wait_for_ever(backend, executors: int) -> None:
    async def story() -> None:
        async with backend(CannotFeed()) as place:
            seen = await finish(place, plan(*[shell("cat /in/pipe")] * executors, inputs=(STREAMED,)))
            assert (seen.phase, seen.final) == (Phase.SYSTEM_FAILED, False)
            assert "temporarily unavailable" in (seen.reason or "")

    asyncio.run(story())
