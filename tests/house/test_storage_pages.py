"""What the pages on storage show can be used as it stands: their tasks are accepted, their settings are known."""

import re
from pathlib import Path

import pytest
from msgspec import json

from tesk.cli import documents
from tesk.settings.load import load
from tesk.tes.validation import accept

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PAGES = [*sorted((DOCS / "storage").glob("*.md")), DOCS / "tools.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tasks_of_a_page_are_accepted(page: Path) -> None:
    for text in blocks(page, "yaml"):
        for written in documents.read(text, str(page)):
            accept(json.encode(written.document), parameters=frozenset(), content_limit_bytes=1 << 20)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_settings_of_a_page_are_known(page: Path, tmp_path: Path) -> None:
    for number, text in enumerate(blocks(page, "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(text)
        load(environ={}, config=str(file))
