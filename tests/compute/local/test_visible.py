"""What executors are shown of the host is seen wherever it lies."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from fakes.attempts import local, new_attempt, plan, shell, stdout, until
from tesk.settings import LocalSettings


@pytest.mark.parametrize("parent", ["/tmp", "/var/tmp"])
def test_a_visible_folder_below_a_temporary_folder_is_seen_read_only(tmp_path: Path, parent: str) -> None:
    async def story(folder: Path) -> None:
        async with local(tmp_path, visible=(*LocalSettings().visible, str(folder))) as place:
            attempt = new_attempt()
            script = f"cat {folder}/word; touch /tmp/own && echo own; touch {folder}/new 2>/dev/null || echo read-only"
            await place.start(attempt, plan(shell(script)))
            assert stdout(await until(place, attempt)) == "seen\nown\nread-only\n"
            await place.forget(attempt)

    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "word").write_text("seen\n")
        asyncio.run(story(folder))
        assert [entry.name for entry in folder.iterdir()] == ["word"]
