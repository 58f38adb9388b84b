"""What all tests of containers want."""

from pathlib import Path

import pytest

from fakes.engine import Engine, containers


@pytest.fixture
def backend(engine: Engine, tmp_path: Path):
    """Give a function that opens a backend `containers`, again and again on the same folder."""
    return lambda stager=None, **settings: containers(tmp_path, stager, **settings)
