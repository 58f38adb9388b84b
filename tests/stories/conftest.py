"""A client of the server that a file of stories starts."""

import pytest

from fakes.stubborn import Client


@pytest.fixture
def client(server):
    """Give a client of `server`."""
    client = Client(server.url)
    yield client
    client.close()
