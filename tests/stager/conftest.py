"""A desk for the tests of this room."""

from pathlib import Path

import pytest

from fakes.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
