"""Each contract is tried on every implementation."""

from pathlib import Path

import pytest

from fakes.attempts import local
from fakes.engine import containers

BACKENDS = {"local": local, "containers": containers}


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path) -> str:
    """Give a place for a store of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "tesk.db")
    return request.getfixturevalue("postgres_url")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path):
    """Give a function that opens a backend."""
    if request.param == "containers":
        request.getfixturevalue("engine")
    return lambda stager=None: BACKENDS[request.param](tmp_path, stager)
