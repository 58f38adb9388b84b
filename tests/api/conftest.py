"""A served application for the tests of this room."""

import pytest

from fakes import served as fake


@pytest.fixture
def served(tmp_path):
    """Give the real application on loopback, without authentication."""
    with fake.serve(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Give one for all tests of a module that leave nothing behind that others see."""
    with fake.serve(tmp_path_factory.mktemp("served")) as server:
        yield server
