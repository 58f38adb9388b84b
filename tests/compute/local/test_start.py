"""A backend that cannot do what it must says so when it starts, with the command that helps."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from fakes.attempts import local
from tesk.compute.local import probe
from tesk.errors import StartError


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


@pytest.mark.parametrize(("path", "value", "setting"), probe._SWITCHES)
def test_a_machine_that_refuses_user_namespaces_gets_its_command(tmp_path, monkeypatch, path, value, setting) -> None:
    switch = tmp_path / "switch"
    switch.write_text(value + "\n")
    monkeypatch.setattr(probe, "_SWITCHES", ((str(switch), value, setting),))
    assert f"sudo sysctl -w {setting}" in probe.what_helps("bwrap: No permissions to create new namespace.")


def test_executors_never_see_the_servers_own_folders(tmp_path: Path) -> None:
    assert "local.visible" in refusal(tmp_path, visible=("/usr", str(tmp_path)))


def test_an_unknown_user_for_executors_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "no-such-user" in refusal(tmp_path, user="no-such-user")
    assert "root" in refusal(tmp_path, user="root")
