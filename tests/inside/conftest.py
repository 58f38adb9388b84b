"""A task's folder with a secret beside it, looked at by the kernel's way and by our own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tesk.inside import Inside


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture(params=[True, False], ids=["openat2", "walk"])
def inside(root: Path, request: pytest.FixtureRequest) -> Iterator[Inside]:
    with Inside(root, openat2=request.param) as inside:
        yield inside
