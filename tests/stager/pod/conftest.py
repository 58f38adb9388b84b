"""Pods for the tests of this room."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.pod import Pod


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    """Make pods in one folder of the test's own, and end what is left of them."""
    made: list[Pod] = []

    def make(*commands: str, **more: Any) -> Pod:
        made.append(Pod(tmp_path / f"pod-{len(made)}", *commands, **more))
        return made[-1]

    yield make
    for pod in made:
        pod.close()
