"""The real command as a process, and a server for it."""

import pytest

from fakes.tes_server import FakeTes
from fakes.typed import Typed


@pytest.fixture
def serve():
    """Start a TES server of somebody else's."""
    contexts = []

    def start(**more):
        contexts.append(FakeTes(**more).serving())
        return contexts[-1].__enter__()

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.fixture
def tesk(tmp_path):
    """Type a command; no server is named."""
    return Typed(tmp_path)


@pytest.fixture
def tesk_at(tmp_path):
    """Type a command at a server."""
    return lambda server: Typed(tmp_path, server.url)
