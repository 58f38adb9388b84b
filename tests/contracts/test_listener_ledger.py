"""What a listener's ledger promises, on SQLite and on PostgreSQL."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from tesk.errors import StartError, StoreInUse
from tesk.listener.connect import ledger_at
from tesk.listener.heard import Heard, Verdict, read
from tesk.listener.ledger import Due, Pass, Saying, Subscription
from tesk.tes.state import State

NEWS, DUPLICATE, LATE, DOUBTED = Verdict.NEWS, Verdict.DUPLICATE, Verdict.LATE, Verdict.DOUBTED


def said(task_id, state, sequence=0, *, of="s", at=100.0, asked=None, ask=None):
    heard = Heard(
        subscription=of, id=task_id, state=State(state), sequence=sequence, time="2026-01-01T00:00:00.000Z", at=at,
        asked=asked,
    )  # fmt: skip
    return Saying(heard, None if heard.ended else ask)


@asynccontextmanager
async def opened(database):
    ledger = ledger_at(database)
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.close()


@pytest.fixture
def on(database):
    """Run something on an open ledger."""

    def run(test):
        async def main():
            async with opened(database) as ledger:
                return await test(ledger)

        return asyncio.run(main())

    return run


def test_moves_are_news_once_and_what_comes_late_is_told_nobody(on):
    async def test(ledger):
        assert await ledger.take([said("t", "QUEUED", 1), said("t", "RUNNING", 3)]) == [NEWS, NEWS]
        assert await ledger.take([said("t", "RUNNING", 3), said("t", "INITIALIZING", 2)]) == [DUPLICATE, LATE]
        assert await ledger.take([said("t", "COMPLETE", 4), said("t", "COMPLETE", 4)]) == [NEWS, DUPLICATE]
        assert await ledger.take([said("t", "RUNNING", 9)]) == [LATE]
        assert [each.told.sequence for each in await ledger.news(0, 10)] == [1, 3, 4]
        assert (await ledger.get("t", "s")).state == "COMPLETE"

    on(test)


def test_without_a_sequence_ends_are_believed_and_all_else_is_asked_for(on):
    async def test(ledger):
        assert await ledger.take([said("t", "RUNNING", ask=500.0)]) == [DOUBTED]
        assert await ledger.news(0, 10) == []
        assert await ledger.due(100.0, 160.0, 5) == [Due("s", "t", 0)]
        assert await ledger.take([said("t", "RUNNING", at=101.0, asked=100.5, ask=400.0)]) == [NEWS]
        assert await ledger.take([said("t", "EXECUTOR_ERROR", at=102.0)]) == [NEWS]
        assert await ledger.due(1e9, 2e9, 5) == []
        assert [each.told.state for each in await ledger.news(0, 10)] == ["RUNNING", "EXECUTOR_ERROR"]

    on(test)


def test_a_question_that_a_clock_has_put_off_which_was_set_back_since_is_due(on):
    async def test(ledger):
        await ledger.take([said("t", "RUNNING", 2, ask=10_000.0)])
        assert await ledger.due(100.0, 160.0, 5, 20_000.0) == []
        assert await ledger.due(100.0, 160.0, 5, 5_000.0) == [Due("s", "t", 0)]
        assert await ledger.due(101.0, 161.0, 5, 5_000.0) == []

    on(test)


def test_two_servers_may_have_a_task_of_the_same_id(on):
    async def test(ledger):
        await ledger.take([said("t", "RUNNING", 2, of="a"), said("t", "COMPLETE", 2, of="b")])
        assert (await ledger.get("t", "a")).state == "RUNNING"
        assert (await ledger.get("t", "b")).state == "COMPLETE"
        assert (await ledger.get("t", None)).state == "COMPLETE"
        assert await ledger.get("t", "c") is None
        assert [each.id for each in await ledger.ended(["t", "u"], "b")] == ["t"]
        assert await ledger.ended(["t"], "a") == []
        assert [each.subscription for each in await ledger.news(0, 10, "b")] == ["b"]

    on(test)


def test_what_was_recorded_is_there_after_a_new_start(database):
    async def first():
        async with opened(database) as ledger:
            await ledger.take([said(f"t{number}", "COMPLETE", 1) for number in range(100)])

    async def second():
        async with opened(database) as ledger:
            assert len(await ledger.ended([f"t{number}" for number in range(100)], None)) == 100
            assert await ledger.newest() == 100

    asyncio.run(first())
    asyncio.run(second())


def test_a_task_that_is_due_is_given_to_one_and_to_nobody_else_for_a_while(on):
    async def test(ledger):
        await ledger.expect("s", ["a", "b"], 100.0, 200.0)
        await ledger.expect("s", ["a"], 100.0, 150.0)
        assert await ledger.due(199.0, 260.0, 5) == []
        assert sorted(await ledger.due(200.0, 260.0, 5)) == [Due("s", "a", 0), Due("s", "b", 0)]
        assert await ledger.due(201.0, 261.0, 5) == []
        await ledger.asked(Due("s", "a", 0), 300.0)
        assert await ledger.due(300.0, 360.0, 1) == [Due("s", "b", 0)]
        assert await ledger.due(300.0, 360.0, 1) == [Due("s", "a", 1)]
        await ledger.asked(Due("s", "a", 1), None)
        await ledger.asked(Due("s", "a", 1), 400.0)  # late, and nobody is to be asked any more
        assert [each.id for each in await ledger.due(1e9, 2e9, 5)] == ["b"]
        assert await ledger.get("a", "s") is None or (await ledger.get("a", "s")).state == "UNKNOWN"

    on(test)


def test_a_token_is_good_until_its_subscription_ends(on):
    async def test(ledger):
        kept = Subscription(id="s", server="http://tes", server_token="secret")
        await ledger.subscribe(kept, [(b"one", "tell"), (b"two", "read")], 1.0)
        await ledger.subscribe(kept, [(b"three", "tell")], 2.0)
        assert await ledger.lookup(b"one") == Pass("s", "tell", True)
        assert await ledger.lookup(b"two") == Pass("s", "read", True)
        assert await ledger.lookup(b"three") == Pass("s", "tell", True)
        assert await ledger.lookup(b"four") is None
        assert await ledger.subscription("s") == kept
        await ledger.take([said("t", "COMPLETE", 1)])
        assert await ledger.unsubscribe("s")
        assert not await ledger.unsubscribe("s")
        assert await ledger.lookup(b"one") is None
        assert await ledger.get("t", None) is None

    on(test)


def test_old_ends_are_forgotten_and_what_goes_on_is_not(on):
    async def test(ledger):
        await ledger.take([said("old", "COMPLETE", 1, at=10.0), said("new", "COMPLETE", 1, at=90.0)])
        await ledger.take([said("runs", "RUNNING", 1, at=10.0, ask=50.0)])
        assert await ledger.prune(50.0) == 1
        assert await ledger.get("old", None) is None
        assert (await ledger.get("new", None)).state == "COMPLETE"
        assert (await ledger.get("runs", None)).state == "RUNNING"
        assert await ledger.newest() == 3

    on(test)


def test_the_oldest_move_that_is_kept_is_known_also_where_none_is(on):
    async def test(ledger):
        assert (await ledger.oldest(), await ledger.newest()) == (1, 0)
        await ledger.take([said("a", "COMPLETE", 1, at=1.0), said("b", "COMPLETE", 1, at=100.0)])
        assert (await ledger.oldest(), await ledger.newest()) == (1, 2)
        await ledger.prune(50.0)
        assert (await ledger.oldest(), await ledger.newest()) == (2, 2)
        await ledger.prune(500.0)
        assert (await ledger.oldest(), await ledger.newest()) == (3, 2)

    on(test)


def test_words_that_no_database_takes_spoil_nothing_that_comes_with_them(on):
    async def test(ledger):
        body = b'{"id": "t", "state": "RUNNING", "sequence": 1, "time": "a\\u0000", "previous_state": "\\u0000"}'
        sayings = [Saying(read(body, "s", 100.0), None), said("u", "COMPLETE", 1)]
        assert await ledger.take(sayings) == [NEWS, NEWS]
        told = await ledger.get("t", "s")
        assert (told.state, told.time, told.previous_state) == ("RUNNING", "1970-01-01T00:01:40.000Z", None)

    on(test)


def test_who_waits_for_news_is_woken(on):
    async def test(ledger):
        await ledger.wait_for_news(0.1)
        waits = asyncio.create_task(ledger.wait_for_news(60))
        await asyncio.sleep(0)
        await ledger.take([said("t", "COMPLETE", 1)])
        await asyncio.wait_for(waits, 10)

    on(test)


def test_two_listeners_on_one_postgres_judge_each_move_once_and_wake_each_other(postgres_url):
    async def main():
        async with opened(postgres_url) as one, opened(postgres_url) as other:
            await other.wait_for_news(1)
            waits = asyncio.create_task(other.wait_for_news(60))
            await asyncio.sleep(0)
            moves = [said(f"t{number}", "COMPLETE", 1) for number in range(50)]
            both = await asyncio.gather(*(each.take([move]) for move in moves for each in (one, other)))
            assert sum(verdicts == [NEWS] for verdicts in both) == 50
            await asyncio.wait_for(waits, 10)
            positions = [each.position for each in await other.news(0, 100)]
            assert len(positions) == 50
            assert positions == sorted(positions)

    asyncio.run(main())


def test_a_file_has_one_listener_and_a_strange_file_has_none(tmp_path):
    async def main():
        async with opened(str(tmp_path / "l.db")):
            with pytest.raises(StoreInUse):
                async with opened(str(tmp_path / "l.db")):
                    pass
        (tmp_path / "strange.db").write_bytes(b"this is no database at all" * 100)
        with pytest.raises(StartError):
            async with opened(str(tmp_path / "strange.db")):
                pass

    asyncio.run(main())
