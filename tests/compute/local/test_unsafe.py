"""`--sandbox none`: for machines that make no sandbox. It runs as a user only, so root runs these as another user."""

import asyncio
import os
from pathlib import Path

import pytest

from fakes.attempts import codes, finish, local, new_attempt, plan, shell, stdout, until, wait_for_words
from fakes.other_user import run_again
from tesk.compute.backend import Phase
from tesk.errors import CannotRun, StartError
from tesk.tes.task import Executor

as_a_user = pytest.mark.skipif(os.geteuid() == 0, reason="shown as another user, by the test that runs this file again")


def test_a_server_of_a_user_may_do_without_a_sandbox() -> None:
    run_again("tests/compute/local/test_unsafe.py")


@pytest.mark.skipif(os.geteuid() != 0, reason="for root only")
def test_root_may_not(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(StartError):
            async with local(tmp_path, sandbox="none"):
                pass

    asyncio.run(story())


@as_a_user
def test_paths_lie_in_the_folders_that_the_settings_name_and_are_removed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/kept").mkdir()

    async def story() -> None:
        async with local(tmp_path, sandbox="none", unsafe_folders=(str(tmp_path / "data"),)) as backend:
            assert "NO SANDBOX" in backend.says[0]
            folder = f"{tmp_path}/data/made/deep"
            seen = await finish(
                backend,
                plan(
                    shell("pwd; echo $HOME $TMPDIR; echo err >&2; echo 1 > x", workdir=folder, stdout=f"{folder}/out"),
                    shell(f"cat {folder}/out; ls {folder}; touch {tmp_path}/data/kept/new"),
                    volumes=(f"{tmp_path}/data/kept",),
                ),
            )
            assert stdout(seen, 0).startswith(folder + "\n")
            assert stdout(seen, 1).split()[-2:] == ["out", "x"]
            assert any("NO SANDBOX" in note for note in seen.notes)
            assert sorted(os.listdir(tmp_path / "data")) == ["kept"]
            assert sorted(os.listdir(tmp_path / "data/kept")) == ["new"]
            with pytest.raises(CannotRun, match="/elsewhere"):
                await backend.start(new_attempt(), plan(shell("true"), volumes=("/elsewhere",)))
            with pytest.raises(CannotRun, match="datax"):
                await backend.start(new_attempt(), plan(shell("true", stdout=f"{tmp_path}/datax/out")))

    asyncio.run(story())


@as_a_user
def test_the_whole_session_is_killed(tmp_path: Path) -> None:
    async def story() -> int:
        async with local(tmp_path, sandbox="none") as backend:
            attempt = new_attempt()
            await backend.start(attempt, plan(shell("trap '' TERM; sleep 1000 & echo $!; sleep 1000")))
            await wait_for_words(backend, attempt, b"\n")
            await backend.stop(attempt, 0.1)
            seen = await until(backend, attempt)
            assert seen.phase is Phase.PREEMPTED
            await backend.forget(attempt)
            return int(seen.executor_logs[0].stdout or 0)

    assert not os.path.exists(f"/proc/{asyncio.run(story())}/exe")


@as_a_user
@pytest.mark.parametrize(
    ("command", "code"), [(("no-such-program",), 127), (("/etc/passwd",), 126), (("sh", "-c", "kill -9 $$"), 137)]
)
def test_exit_codes_are_the_programs_own(tmp_path: Path, command: tuple[str, ...], code: int) -> None:
    async def story() -> None:
        async with local(tmp_path, sandbox="none") as backend:
            assert codes(await finish(backend, plan(Executor(image="debian", command=command)))) == [code]

    asyncio.run(story())
