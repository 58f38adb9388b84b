"""Ids sort by age, whatever the clock does."""

from tesk.tes.ids import Ids, following, id_before, is_id, made_at


def test_ids_go_up_also_within_a_millisecond_and_when_the_clock_is_set_back():
    ids = Ids()
    made = [ids.make(now) for now in (1000.0, 1000.0, 1000.0001, 500.0, 1.0, 1000.0, 2000.0)]
    assert made == sorted(set(made))
    assert all(map(is_id, made))
    assert (made_at(made[0]), made_at(made[-1])) == (1000.0, 2000.0)


def test_ids_are_above_the_newest_that_an_earlier_server_made_with_a_later_clock():
    newest = Ids().make(5000.0)
    assert Ids(newest).make(1000.0) > newest


def test_what_sorts_before_a_time_sorts_after_all_that_was_made_earlier():
    ids = Ids()
    assert ids.make(999.999) < id_before(1000.0) < ids.make(1000.0)
    assert id_before(-5.0) < ids.make(0.0)


def test_reserved_ids_follow_each_other_and_nobody_else_gets_one():
    ids = Ids()
    for count in (1, 2, 1023, 1024, 1025, 5000):
        first = ids.reserve(1000.0, count)
        reserved = following(first, count)
        assert len({*reserved}) == count
        assert sorted(reserved) == reserved
        assert all(map(is_id, reserved))
        assert first < reserved[0] <= reserved[-1] < ids.make(1000.0)
        assert following(reserved[0], count - 1) == reserved[1:]
