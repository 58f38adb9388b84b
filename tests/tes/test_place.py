"""Places among all events."""

import pytest

from tesk.errors import BadRequest
from tesk.tes.event import Event
from tesk.tes.place import Place
from tesk.tes.state import State

EVENT = Event(
    position=7, task_id="a", owner="b", sequence=1, previous_state=None, state=State.QUEUED, attempt=0, time=1.5
)


def test_a_place_is_read_as_it_was_written() -> None:
    place = Place.of(EVENT)
    assert Place.read(str(place), "after") == place
    assert Place.read("7", "after") == Place(7)
    assert Place.read("", "after") is None


def test_another_event_at_the_same_position_is_another_place() -> None:
    other = Event(
        position=7, task_id="a", owner="b", sequence=1, previous_state=None, state=State.QUEUED, attempt=0, time=1.75
    )
    assert Place.of(other) != Place.of(EVENT)


@pytest.mark.parametrize("text", ["soon", "-1", "7-", "7-xyz", "7-0123456", "1" * 19, "7 "])
def test_what_is_no_place_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(BadRequest, match="after must be the `id` of an event"):
        Place.read(text, "after")
