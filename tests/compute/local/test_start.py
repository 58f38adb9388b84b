"""A backend that cannot do what it must says so when it starts, with the command that helps."""

import asyncio
import os
import tempfile
from pathlib import Path

import pytest

from fakes.attempts import finish, local, plan, shell, stdout
from tesk.compute.local.probe import SWITCHES, what_helps
from tesk.compute.local.user import executor_user
from tesk.compute.machine.size import capacity
from tesk.errors import StartError
from tesk.settings import LocalSettings


def refusal(folder: Path, **settings) -> str:
    async def story() -> None:
        async with local(folder, **settings):
            pass

    with pytest.raises(StartError) as refused:
        asyncio.run(story())
    return str(refused.value)


def test_without_bubblewrap_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt install bubblewrap" in refusal(tmp_path)


def test_a_bubblewrap_that_makes_no_sandbox_is_told_of_in_its_own_words(tmp_path, monkeypatch) -> None:
    # Where the executors' user may come as well.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        program = Path(folder, "bwrap")
        program.write_text("#!/bin/sh\necho 'bwrap: Creating new namespace failed: Permission denied' >&2; exit 1\n")
        program.chmod(0o755)
        program.parent.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        said = refusal(tmp_path)
    assert "Creating new namespace failed: Permission denied" in said
    assert "try: " in said or "start it with: " in said


@pytest.mark.parametrize(("path", "value", "setting"), SWITCHES)
def test_a_machine_that_refuses_user_namespaces_gets_its_command(tmp_path, path, value, setting) -> None:
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text(value + "\n")
    assert f"sudo sysctl -w {setting}" in what_helps("bwrap: No permissions to create new namespace.", tmp_path)


def test_executors_never_see_the_servers_own_folders(tmp_path: Path) -> None:
    assert "local.visible" in refusal(tmp_path, visible=("/usr", str(tmp_path)))


@pytest.mark.parametrize("name", ["no-such-user", "root"])
def test_a_user_that_executors_cannot_run_as_is_named(name: str) -> None:
    with pytest.raises(StartError, match=f"local.user: .*'{name}'"):
        executor_user(name, is_root=True)
    assert executor_user(name, is_root=False) is None


def test_folders_of_the_settings_come_first_where_programs_are_looked_for(tmp_path: Path) -> None:
    async def story() -> None:
        async with local(tmp_path, path=("/opt/conda/bin", "/srv/bin")) as backend:
            seen = await finish(backend, plan(shell("echo $PATH")))
            assert stdout(seen).startswith("/opt/conda/bin:/srv/bin:/usr/local/sbin:")

    asyncio.run(story())


def test_the_machine_offers_its_cores_so_many_times_its_memory_less_one_and_its_free_disk_or_what_is_said(
    tmp_path: Path,
) -> None:
    cores = len(os.sched_getaffinity(0))
    whole = capacity(LocalSettings(), tmp_path)
    assert whole.cpu_cores == cores
    assert 0 < whole.ram_bytes < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - 999_999_999
    assert whole.disk_bytes > 0
    assert capacity(LocalSettings(overcommit_cpu=2.5), tmp_path).cpu_cores == cores * 2.5
    told = capacity(LocalSettings(cpu_cores=3, overcommit_cpu=9, ram_gb=0.5, disk_gb=7), tmp_path)
    assert (told.cpu_cores, told.ram_bytes, told.disk_bytes) == (3, 500_000_000, 7_000_000_000)


def test_a_strict_umask_of_the_server_does_not_keep_executors_out(tmp_path: Path) -> None:
    async def story() -> None:
        async with local(tmp_path) as backend:
            seen = await finish(backend, plan(shell("umask"), volumes=("/data",)))
            assert stdout(seen) == "0022\n"

    old = os.umask(0o077)
    try:
        asyncio.run(story())
    finally:
        os.umask(old)
