"""A stage for each test, in the namespace of its module. A test that passed so far must leave nothing there."""

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster.conftest import Cluster
from cluster.faults.node_images import NodeImages
from cluster.faults.stage import Control, Stage, control

_PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        item.stash[_PASSED] = report.passed
    return report


@pytest.fixture
def stage(cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    with ExitStack() as ends:
        stage = Stage(cluster, tmp_path, ends)
        yield stage
        stage.pods()  # what is taken away now wants an API server, and a test that failed may have killed it
        if request.node.stash.get(_PASSED, False):
            stage.assert_nothing_is_left()


@pytest.fixture(name="control")
def controlled() -> Control:
    """What kills and starts parts of the cluster; without it a test skips."""
    return control()


@pytest.fixture
def node_images() -> Iterator[NodeImages]:
    """What gives the node images and takes them away; without it a test skips."""
    command = os.environ.get("CLUSTER_IMAGES")
    if not command:
        pytest.skip("CLUSTER_IMAGES names no command (ctr -n k8s.io images) that keeps the images of the node")
    images = NodeImages(command)
    try:
        yield images
    finally:
        images.close()
