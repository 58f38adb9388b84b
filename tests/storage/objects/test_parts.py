"""Parts of one object over several threads: all of it once, the first failure stops all, more threads only where they help."""

import threading

import pytest

from tesk.storage.objects.parts import Part, Parts

WAIT_SECONDS = 30


def test_parts_cover_an_object_and_no_more() -> None:
    assert list(Parts(10, 4).waiting) == [Part(1, 0, 4), Part(2, 4, 8), Part(3, 8, 10)]
    assert not Parts(0, 4).waiting


def test_no_size_that_a_server_makes_up_has_so_many_parts_that_they_fill_the_memory() -> None:
    waiting = Parts(10**18 - 1, 4).waiting
    assert len(waiting) <= 10_000
    assert (waiting[0].begin, waiting[-1].end) == (0, 10**18 - 1)


def test_all_parts_move_once_over_as_many_threads_as_there_may_be() -> None:
    work = Parts(1000, 10)
    done: list[Part] = []
    together = threading.Barrier(4)
    met: set[int] = set()

    def act(part: Part) -> None:
        work.check()
        if part.number > 96:  # the first that each of four threads takes
            together.wait(WAIT_SECONDS)
            met.add(threading.get_ident())
        done.append(part)

    work.move(act, threading.Semaphore(3), most=8)
    assert len(met) == 4
    assert sorted(part.begin for part in done) == list(range(0, 1000, 10))


def test_the_first_failure_stops_all_and_what_is_left_waits() -> None:
    work = Parts(1000, 10)
    helpers = threading.Semaphore(3)

    def act(part: Part) -> None:
        try:
            work.check()
            if part.number == 90:
                raise ValueError("this one")
            part = Part(part.number, part.end, part.end)
        finally:
            work.give_back(part)

    with pytest.raises(ValueError, match="this one"):
        work.move(act, helpers, most=8)
    assert Part(90, 890, 900) in work.waiting
    assert all(helpers.acquire(blocking=False) for _ in range(3))


@pytest.mark.parametrize(("most", "helpers"), [(1, 3), (4, 0)])
def test_one_thread_moves_all_where_there_may_be_no_other(most: int, helpers: int) -> None:
    work = Parts(1000, 10)
    threads: set[int] = set()
    work.move(lambda part: threads.add(threading.get_ident()), threading.Semaphore(helpers), most=most)
    assert threads == {threading.get_ident()}
    assert not work.waiting
