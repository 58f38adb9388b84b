"""The habits of the house that no other tool looks at."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from tesk.tes.state import MOVES

HOUSE = Path(__file__).resolve().parent.parent.parent
MODULES = [
    path for part in ("src", "tests", "bench", "docs", "scripts") for path in sorted((HOUSE / part).rglob("*.py"))
]


def test_the_first_line_of_each_module_is_its_charter() -> None:
    without = [path for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert without == []


def test_a_file_is_read_in_one_sitting() -> None:
    long = {str(path.relative_to(HOUSE)): lines for path in MODULES if (lines := path.read_text().count("\n")) > 470}
    assert long == {}


def test_the_lock_pins_what_the_project_asks_for_and_names_no_host() -> None:
    lock = (HOUSE / "requirements.lock").read_text()
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())
    asked = list(project["project"]["dependencies"]) + project["project"]["optional-dependencies"]["postgres"]
    asked += [each for group in project["dependency-groups"].values() for each in group if isinstance(each, str)]
    names = {re.split(r"[\[<>=~! ]", each)[0].lower().replace("_", "-") for each in asked}
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert names <= pinned, "make lock"
    assert "://" not in lock


def test_the_state_diagram_shows_every_legal_move_and_no_other() -> None:
    drawn = re.findall(r'data-moves="([^"]+)"', (HOUSE / "docs/_static/states.svg").read_text())
    moves = {f"{old}-{new}" for old, news in MOVES.items() for new in news}
    assert {move for each in drawn for move in each.split()} == moves


def test_each_word_of_the_makefile_says_what_it_does() -> None:
    makefile = (HOUSE / "Makefile").read_text()
    words = set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index] # it is there
    assert words == set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_words_that_a_page_names_are_in_the_makefile(page: str) -> None:
    makefile = (HOUSE / "Makefile").read_text()
    named = set(re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)$", (HOUSE / page).read_text(), re.MULTILINE))
    for word in {first or second for first, second in named}:
        assert re.search(rf"^{word}:", makefile, re.MULTILINE), word
