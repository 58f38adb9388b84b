"""The small parts of the store, each alone."""

import asyncio
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.tasks import new_task
from tesk.errors import Overloaded, StoreTooNew
from tesk.store import reads, shape
from tesk.store.migrate import migrations, missing
from tesk.store.pairs import pack, pair_hash, pair_hashes, unpack
from tesk.store.pending import Pending
from tesk.store.postgres.asked import payloads
from tesk.store.postgres.batches import Batches
from tesk.store.postgres.upkeep import _without_password
from tesk.store.report import complaints
from tesk.store.signals import Signals
from tesk.store.sql import arguments, numbered

TEXTS = st.text(max_size=5)


# -- pairs ----------------------------------------------------------------------------------------------------------------


@given(st.dictionaries(TEXTS, TEXTS, max_size=5), TEXTS)
def test_a_task_is_found_under_each_of_its_tags_for_its_owner_and_for_everybody(tags, owner):
    hashes = pair_hashes(owner, tags)
    assert list(unpack(pack(hashes))) == hashes
    for of in (None, owner) if owner != "local" else (None,):
        for key, value in tags.items():
            assert {pair_hash(of, key, value), pair_hash(of, key, None)} <= set(hashes)


@given(*[st.tuples(st.none() | TEXTS, TEXTS, st.none() | TEXTS)] * 2)
def test_different_pairs_have_different_hashes(one, other):
    assert (pair_hash(*one) == pair_hash(*other)) == (one == other)


def test_a_tag_costs_two_rows_without_owners_and_four_with():
    assert len(pair_hashes("local", {"k": "v"})) == 2
    assert len(pair_hashes("ann", {"k": "v"})) == 4


# -- sql ------------------------------------------------------------------------------------------------------------------


def test_named_parameters_become_numbered_ones_and_casts_stay():
    text, names = numbered("SELECT :b::text[], :a, :b")
    assert (text, names) == ("SELECT $1::text[], $2, $1", ("b", "a"))
    assert arguments(names, {"a": 1, "b": 2, "c": 3}) == [2, 1]


def test_every_check_has_its_sentence():
    row = ("t", "x", "y", "z")
    assert len(complaints({query: [row] for query in reads.CHECKS})) == len(reads.CHECKS)


# -- migrations -------------------------------------------------------------------------------------------------------------


def test_migrations_are_numbered_alike_for_both_databases_and_lie_in_the_package():
    versions = [[step.version for step in migrations(dialect)] for dialect in ("sqlite", "postgres")]
    assert versions[0] == versions[1] == list(range(1, len(versions[0]) + 1))
    assert resources.files("tesk.store").joinpath("migrations", "sqlite", "0001_tasks.sql").is_file()


def test_what_is_missing_is_what_comes_after_and_never_goes_back():
    steps = migrations("sqlite")
    assert missing(steps, 0, "x") == steps
    assert missing(steps, steps[-1].version, "x") == ()
    with pytest.raises(StoreTooNew):
        missing(steps, steps[-1].version + 1, "x")


# -- pending ----------------------------------------------------------------------------------------------------------------


def test_what_waits_is_bounded_by_count_and_by_bytes_but_one_alone_may_be_large():
    small, large = new_task(body=b"x"), new_task(body=b"x" * 100)
    for pending in (Pending(1, 1000), Pending(10, 100)):
        assert pending.enter(large) is None
        assert isinstance(pending.enter(small), Overloaded)
        pending.leave([large])
        assert pending.enter(small) is None
    assert Pending(10, 10).enter(large) is None


# -- signals ----------------------------------------------------------------------------------------------------------------


def test_a_signal_wakes_who_waits_for_that_task_and_leaves_nothing_behind():
    async def story():
        signals = Signals()
        one, twin, other = signals.expect("a"), signals.expect("a"), signals.expect("b")
        signals.changed(["a", "c"])
        assert (one.done(), twin.done(), other.done()) == (True, True, False)
        signals.all_changed()
        assert other.done()
        for task, future in (("a", one), ("a", twin), ("b", other), ("b", other)):
            signals.dismiss(task, future)
        assert signals._waiting == {}
        async with asyncio.timeout(10):
            await signals.wait_for_work(600)
        await signals.wait_for_work(0.0)

    asyncio.run(story())


def test_who_waits_for_a_task_that_may_go_on_at_once_is_woken_in_a_moment():
    async def story():
        signals = Signals()
        signals.changed_soon(["a"])
        one = signals.expect("a")
        signals.changed_soon(["a"])
        assert not one.done()
        async with asyncio.timeout(10):
            await one

    asyncio.run(story())


def test_other_servers_are_told_in_notifications_of_bounded_size():
    ids = [new_task().id for _ in range(1000)]
    told = payloads("W", ids)
    assert [one for payload in told for one in payload.split(" ")[1:]] == ids
    assert all(len(payload) < 8000 and payload.startswith("W ") for payload in told)


# -- batches ----------------------------------------------------------------------------------------------------------------


def test_what_comes_while_others_run_goes_together_and_equal_keys_go_in_order():
    async def story():
        ran = []

        async def run(asked):
            ran.append(list(asked))
            await asyncio.sleep(0)
            return [number * 10 for number in asked]

        batches = Batches(run, lambda number: number % 10, size=4, parallel=1)
        answers = await asyncio.gather(*(batches.ask(number) for number in (1, 2, 3, 11, 21, 4, 5, 12)))
        assert answers == [10, 20, 30, 110, 210, 40, 50, 120]
        assert ran == [[1, 2, 3, 4], [11, 5, 12], [21]]
        await batches.close()

    asyncio.run(story())


def test_an_answer_may_be_an_error_and_a_broken_batch_is_everybodys():
    async def story():
        async def run(asked):
            if "break" in asked:
                raise RuntimeError("broken")
            return [KeyError(one) if one == "bad" else one for one in asked]

        batches = Batches(run, lambda one: one)
        good, bad = await asyncio.gather(batches.ask("good"), batches.ask("bad"), return_exceptions=True)
        assert (good, type(bad)) == ("good", KeyError)
        broken = await asyncio.gather(batches.ask("break"), batches.ask("good"), return_exceptions=True)
        assert [str(one) for one in broken] == ["broken", "broken"]
        assert await batches.ask("good") == "good"
        await batches.close()

    asyncio.run(story())


# -- shape and addresses ------------------------------------------------------------------------------------------------------


def test_a_name_is_compared_without_nul():
    assert shape.searchable("a\0b") == "a\ufffdb"


def test_a_password_goes_by_the_environment():
    assert _without_password("postgresql://u:p%40ss@h:5/db?x=1&password=q") == ("postgresql://u@h:5/db?x=1", "p@ss")
    assert _without_password("postgresql:///db?host=/run") == ("postgresql:///db?host=%2Frun", None)
