"""Pods that a server sees for the first time, pods of nodes that were started anew, and clocks that do not agree."""

import json
from pathlib import Path

import msgspec
import pytest

from tesk.compute.backend import AttemptId, Phase
from tesk.compute.kubernetes.objects import Event, Pod
from tesk.compute.kubernetes.pod_status import has_begun, read
from tesk.compute.kubernetes.results import observation
from tesk.settings import KubernetesSettings

PODS = Path(__file__).parent / "pods"
SETTINGS = KubernetesSettings()


def pod(name, **changes):
    """A pod as it was seen; `changes` are states of containers, by name (`_` for `-`)."""
    found = json.loads((PODS / f"{name}.json").read_text())
    for each in found["status"]["containerStatuses"]:
        state = changes.get(each["name"].replace("-", "_"))
        each["state"] = each["state"] if state is None else state
    return msgspec.convert(found, Pod, strict=False)


def created(seen):
    return seen.metadata.creation_timestamp.timestamp()


def seen_at(seen, after, **more):
    return read(seen, now=created(seen) + after, settings=SETTINGS, **more)


LOST = {
    "terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "The container could not be located"}
}
UNKNOWN = {"terminated": {"exitCode": 255, "reason": "Unknown", "startedAt": "2026-11-25T01:44:52Z"}}


# -- since when ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "began", "seconds"),
    [("image-not-there", 13, 300), ("image-back-off", 13, 300), ("config-error", 1, 30)],
)
def test_a_server_that_comes_later_waits_no_longer_than_the_one_before(name, began, seconds) -> None:
    seen = pod(name)
    for first_look in (began + 1, began + seconds - 1):
        reading = seen_at(seen, first_look)
        assert reading.verdict is None
        assert reading.until == created(seen) + began + seconds
    assert seen_at(seen, began + seconds).verdict is not None


def test_what_fails_last_of_all_is_waited_for_since_what_came_before_it_ran() -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "no"}}
    seen = pod("image-not-there", executor_1=waiting, outputs=waiting)
    assert seen_at(seen, 100).trouble == ("image", created(seen) + 12)


def test_a_volume_is_waited_for_since_its_pod_had_a_node_whoever_looks() -> None:
    events = msgspec.convert(json.loads((PODS / "secret-missing.events.json").read_text()), list[Event], strict=False)
    seen = pod("secret-missing")
    assert seen_at(seen, 299, events=events).verdict is None
    assert seen_at(seen, 300, events=events).verdict.reason.startswith("A volume cannot be mounted: ")


def test_a_pull_that_fails_after_a_long_while_has_all_its_time_with_a_server_that_watched_it() -> None:
    before = seen_at(pod("secret-missing"), 900)
    first = seen_at(pod("image-not-there"), 1000, trouble=before.trouble)
    assert first.verdict is None


# -- nodes that were started anew -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("end", [LOST, UNKNOWN])
def test_inputs_that_a_node_lost_sight_of_are_not_taken_for_never_started(end) -> None:
    seen = pod("executor-runs", inputs=end)
    assert has_begun(seen)
    first = seen_at(seen, 10)
    assert first.phase is Phase.RUNNING
    assert seen_at(seen, 10_000, trouble=first.trouble).verdict is None


@pytest.mark.parametrize("end", [LOST, UNKNOWN])
def test_a_pod_whose_containers_all_went_with_a_restart_of_their_node_is_no_fault_of_the_task(end) -> None:
    seen = pod("executor-runs", inputs=end, executor_0=end, executor_1=end, outputs=end)
    reading = seen_at(seen, 10)
    assert reading.over
    result = observation(AttemptId("task1", 1), seen, reading, None)
    assert result.phase is Phase.PREEMPTED
    assert result.reason == "The node tesk-node was started anew, and lost the pod's containers."
    assert result.notes == ("What the pod reported was lost with it: its streams and output files are not known.",)
