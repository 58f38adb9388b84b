"""An executor with a real shim, as the first process of a container and as any process."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes import executor
from fakes.executor import Executor, Living


@pytest.fixture(params=["first process", "any process"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Executor]]:
    """Give executors by their command and job, in both places that a shim may have."""
    sandbox = executor.FIRST_PROCESS if request.param == "first process" else ()
    with contextlib.ExitStack() as made:

        def one(*command: str, name: str = "executor", **job: object) -> Executor:
            (tmp_path / name).mkdir()
            return made.enter_context(executor.executor(tmp_path / name, *command, **{"sandbox": sandbox, **job}))

        yield one


@pytest.fixture
def make_one(tmp_path: Path) -> Iterator[Callable[..., Executor]]:
    """Give executors by their command and job, where the place of the shim changes nothing."""
    with contextlib.ExitStack() as made:

        def one(*command: str, name: str = "executor", **job: object) -> Executor:
            (tmp_path / name).mkdir()
            return made.enter_context(executor.executor(tmp_path / name, *command, **job))

        yield one


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Living]:
    """Give a pipe that says whether anybody who opened it lives."""
    with executor.living(tmp_path / "living") as pipe:
        yield pipe
