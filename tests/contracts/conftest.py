"""Each contract is tried on every implementation."""

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path) -> str:
    """Give a place for a store of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "tesk.db")
    return request.getfixturevalue("postgres_url")
