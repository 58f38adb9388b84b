"""How the parameters of GetTask and ListTasks are read."""

import pytest

from tesk.errors import BadRequest
from tesk.tes.ids import Ids
from tesk.tes.parameters import GetTask, ListTasks, get_task, list_tasks
from tesk.tes.state import State
from tesk.tes.view import View

ID = Ids().make(1.0)


def wrong(query, read=list_tasks):
    with pytest.raises(BadRequest) as refused:
        read(query)
    return [problem.path for problem in refused.value.problems]


def test_the_default_view_is_minimal_for_get_as_well_as_for_list():
    assert get_task(b"") == GetTask(view=View.MINIMAL)
    assert list_tasks(b"") == ListTasks(view=View.MINIMAL, state=None, page_size=256)


@pytest.mark.parametrize("query", [b"view=full", b"view=", b"view=X", b"view=FULL&view=FULL"])
def test_an_unknown_view_is_refused(query):
    assert wrong(query) == ["view"]
    assert wrong(query, get_task) == ["view"]


def test_every_state_of_the_spec_can_be_asked_for_and_no_other():
    assert [list_tasks(b"state=" + state.encode()).state for state in State] == list(State)
    assert wrong(b"state=DONE") == wrong(b"state=") == wrong(b"state=running") == ["state"]


@pytest.mark.parametrize(
    ("given", "size"),
    [(b"1", 1), (b"2047", 2047), (b"2048", 2047), (b"99999999999999999999999", 2047), (b"9" * 5000, 2047)],
)
def test_page_size_is_at_most_2047(given, size):
    assert list_tasks(b"page_size=" + given).page_size == size


@pytest.mark.parametrize("given", [b"0", b"-1", b"-" + b"9" * 5000, b"", b"x", b"1.5", b"%D9%A1", b"1_0", b"+", b"0x1"])
def test_a_page_size_of_nothing_or_less_or_no_number_is_refused(given):
    assert wrong(b"page_size=" + given) == ["page_size"]


def test_a_token_is_one_that_we_gave():
    assert list_tasks(b"page_token=" + ID.encode()).page_token == ID
    assert wrong(b"page_token=x") == ["page_token"]


def test_empty_prefix_token_and_value_count_as_not_given():
    asked = list_tasks(b"name_prefix=&page_token=&tag_key=a&tag_value=")
    assert asked == ListTasks(tags=(("a", None),))


@pytest.mark.parametrize(
    ("query", "tags"),
    [
        (b"tag_key=a", (("a", None),)),
        (b"tag_key=a&tag_value=1", (("a", "1"),)),
        (b"tag_value=1&tag_key=a", (("a", "1"),)),
        (b"tag_key=a&tag_key=b&tag_value=1", (("a", "1"), ("b", None))),
        (b"tag_key=a&tag_key=b&tag_value=&tag_value=2", (("a", None), ("b", "2"))),
        (b"tag_key=a&tag_key=a&tag_value=1&tag_value=2", (("a", "1"), ("a", "2"))),
        (b"tag_key=%C3%A9%26&tag_value=%3D+x", (("é&", "= x"),)),
    ],
)
def test_keys_and_values_of_tags_pair_up_by_position(query, tags):
    assert list_tasks(query).tags == tags


def test_more_values_than_keys_are_refused():
    assert wrong(b"tag_key=a&tag_value=1&tag_value=2") == ["tag_value"]
    assert wrong(b"tag_value=1") == ["tag_value"]


def test_far_too_many_parameters_are_refused():
    assert wrong(b"&".join([b"tag_key=a"] * 65)) == ["tag_key"]
    assert wrong(b"&".join([b"tag_key=a"] * 5000)) == [""]


def test_unknown_parameters_are_left_alone():
    assert list_tasks(b"more=1&page_size=2&=&&x") == ListTasks(page_size=2)


def test_all_problems_of_a_query_are_said_at_once():
    assert wrong(b"view=x&state=y&page_size=z&page_token=t&tag_value=v") == [
        "view",
        "state",
        "tag_value",
        "page_size",
        "page_token",
    ]


def test_wait_is_a_number_of_seconds():
    assert get_task(b"wait=30").wait_seconds == 30
    assert get_task(b"wait=0.5&view=FULL") == GetTask(view=View.FULL, wait_seconds=0.5)
    for bad in (b"wait=", b"wait=-1", b"wait=nan", b"wait=1e9", b"wait=long"):
        assert wrong(bad, get_task) == ["wait"]
