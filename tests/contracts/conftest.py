"""Each contract is tried on every implementation."""

from pathlib import Path

import pytest

from fakes.attempts import local
from fakes.engine import containers
from fakes.pods import kubernetes

BACKENDS = {"local": local, "containers": containers, "kubernetes": kubernetes}


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path) -> str:
    """Give a place for a store of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "tesk.db")
    return request.getfixturevalue("postgres_url")


@pytest.fixture(params=["local", "containers", pytest.param("kubernetes", marks=pytest.mark.cluster)])
def backend(request: pytest.FixtureRequest, tmp_path: Path):
    """Give a function that opens a backend."""
    if request.param == "containers":
        request.getfixturevalue("engine")
    if request.param == "kubernetes":
        namespace = request.getfixturevalue("pods_namespace")
        return lambda stager=None: kubernetes(namespace, stager)
    return lambda stager=None: BACKENDS[request.param](tmp_path, stager)
