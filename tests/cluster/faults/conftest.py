"""A stage for each test, in the namespace of its module."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster.conftest import Cluster
from cluster.faults.stage import Control, Stage, control


@pytest.fixture
def stage(cluster: Cluster, tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as ends:
        yield Stage(cluster, tmp_path, ends)


@pytest.fixture(name="control")
def controlled() -> Control:
    """What kills and starts parts of the cluster; without it a test skips."""
    return control()
