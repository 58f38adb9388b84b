"""Fixtures that several rooms want."""

import contextlib
import signal
from collections.abc import Iterator

import pytest

import postgres
from fakes import engine as engines
from fakes import pods

# Who starts the tests in the background has them ignore Ctrl-C, and all that they start would ignore it, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """Give a real PostgreSQL server, one for the whole session; skip where there is none."""
    try:
        with postgres.running() as server:
            yield server
    except postgres.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> str:
    """Give the URL of an empty database."""
    return postgres_server.new_database()


@pytest.fixture(scope="session")
def engine() -> Iterator[engines.Engine]:
    """Give a real container engine with an image of busybox, one for the whole session; skip where there is none."""
    try:
        with engines.running() as engine, engines.in_environment(engine):
            yield engine
    except engines.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def pods_namespace() -> Iterator[str]:
    """Give a namespace of a real cluster in which pods run, one for the whole session; skip where there is none."""
    with contextlib.ExitStack() as stack:
        try:
            name = stack.enter_context(pods.namespace())
        except pods.Missing as missing:
            pytest.skip(str(missing))
        yield name
