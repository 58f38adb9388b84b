"""A task's folder with a secret beside it, looked at by the kernel's way and by our own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tesk.inside import Inside, delete_folder


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root").mkdir()
    yield tmp_path / "root"
    # pytest removes what earlier runs left, and of a very deep tree it would find no end.
    delete_folder(tmp_path / "root")


@pytest.fixture(params=[True, False], ids=["openat2", "walk"])
def inside(root: Path, request: pytest.FixtureRequest) -> Iterator[Inside]:
    with Inside(root, openat2=request.param) as inside:
        yield inside
