"""What every store promises of deliveries: each move once, in order, to whoever takes it, until somebody says what became of it."""

import asyncio
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.databases import opened, play
from fakes.tasks import ended, new_task, running
from tesk.caller import LOCAL, Caller
from tesk.store.outbox import Sent, Status, Try, lane_of, origin_of, owner_of
from tesk.store.rows import Callback, Move
from tesk.tes.state import State

HOST = "https://listener.example:443"
OTHER = "https://other.example:443"
LANE = lane_of(HOST, "local")


def subscribed(owner="local", host=HOST, **more):
    return new_task(owner, callback=Callback(url=f"{host}/hook", lane=lane_of(host, owner)), **more)


def told(sequence, status=Status.DELIVERED, code=204, **more):
    return Try(sequence=sequence, status=status, time=time.time(), latency_seconds=0.01, code=code, **more)


async def take(store, lanes=(LANE,), each=100, **more):
    return list(await store.outbox.take(lanes, **{"now": time.time() + 1, "each": each, **more}))


async def deliver(store, one, *, due=None):
    tries = tuple(told(move.sequence) for move in one.moves)
    await store.outbox.record([Sent(task_id=one.task_id, claim=one.claim, tries=tries, due=due or time.time())])


def test_every_move_of_a_task_with_a_callback_is_to_be_delivered_the_first_and_canceling_included(database):
    async def story(store):
        new, canceled = subscribed(), subscribed()
        await store.create(new)
        await store.create(canceled)
        await ended(store, new)
        await store.cancel(canceled.id, LOCAL, 3.0)
        out = {one.task_id: one for one in await take(store)}
        whole = [State.QUEUED, State.INITIALIZING, State.COMPLETE]
        assert [move.state for move in out[new.id].moves] == whole
        assert [move.previous_state for move in out[new.id].moves] == [None, *whole[:-1]]
        assert [(move.sequence, move.attempt) for move in out[new.id].moves] == [(1, 0), (2, 1), (3, 1)]
        assert [move.state for move in out[canceled.id].moves] == [State.QUEUED, State.CANCELING, State.CANCELED]
        assert (out[new.id].url, out[new.id].lane) == (f"{HOST}/hook", LANE)
        assert await store.check() == []

    play(database, story)


def test_retries_two_steps_in_one_and_refusals_are_to_be_delivered_too(database):
    async def story(store):
        lease = await store.acquire("here", "test", 60)
        task = await running(store, lease, callback=subscribed().callback)
        again = Move(task_id=task.id, attempt=1, old=State.RUNNING, new=State.QUEUED, time=3.0)
        assert await store.move(lease, again)
        assert await store.begin(lease, task.id, 4.0)
        both = Move(task_id=task.id, attempt=2, old=State.INITIALIZING, via=State.RUNNING, new=State.COMPLETE, time=5.0)
        assert await store.move(lease, both)
        refused = subscribed()
        await store.create(refused)
        assert await store.refuse(lease, refused.id, "no", 6.0)
        out = {one.task_id: [move.state.value for move in one.moves] for one in await take(store)}
        assert out[task.id] == ["QUEUED", "INITIALIZING", "RUNNING", "QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"]
        assert out[refused.id] == ["QUEUED", "SYSTEM_ERROR"]
        assert await store.check() == []

    play(database, story)


def test_a_task_without_a_callback_has_no_deliveries(database):
    async def story(store):
        new = new_task()
        await store.create(new)
        await ended(store, new)
        assert list(await store.outbox.lanes(limit=10)) == []
        assert await store.outbox.subscription(new.id, LOCAL) is None
        assert await store.outbox.redeliver(new.id, LOCAL, time=1.0) is None
        assert (await store.outbox.backlog()).pending == 0

    play(database, story)


def test_what_is_taken_is_nobody_elses_until_it_was_recorded_or_the_time_is_over(database):
    async def story(store):
        new = subscribed()
        await store.create(new)
        (first,) = await take(store)
        assert await take(store) == []
        await deliver(store, first)
        assert await take(store) == []
        await store.cancel(new.id, LOCAL, time.time())
        (second,) = await take(store, hold_seconds=0.0)
        (third,) = await take(store)
        assert second.moves == third.moves
        # Who held it before comes late.
        await deliver(store, second)
        assert [d.status for d in (await store.outbox.subscription(new.id, LOCAL)).deliveries[1:]] == ["pending"] * 2
        await deliver(store, third)
        assert await take(store) == []
        assert await store.check() == []

    play(database, story)


def test_what_a_server_has_taken_is_another_ones_once_its_lease_has_ended(postgres_url):
    async def story():
        async with opened(postgres_url) as first, opened(postgres_url) as second:
            lease = await first.acquire("here", "first", 60)
            await second.acquire("there", "second", 60)
            new = subscribed()
            await first.create(new)
            (held,) = await take(first)
            await second.outbox.reclaim(now=time.time())
            assert await take(second) == []
            await first.release(lease)
            # It may be sending still: it takes nothing twice.
            await first.outbox.reclaim(now=time.time())
            assert await take(first) == []
            await second.outbox.reclaim(now=time.time())
            (again,) = await take(second)
            assert again.moves == held.moves
            await deliver(first, held)
            assert [d.status for d in (await second.outbox.subscription(new.id, LOCAL)).deliveries] == ["pending"]
            await deliver(second, again)
            assert [d.status for d in (await second.outbox.subscription(new.id, LOCAL)).deliveries] == ["delivered"]
            assert await second.check() == []

    asyncio.run(story())


def test_what_happens_while_a_task_is_taken_is_sent_next(database):
    async def story(store):
        new = subscribed()
        await store.create(new)
        (first,) = await take(store)
        await store.cancel(new.id, LOCAL, time.time())
        await deliver(store, first)
        (second,) = await take(store)
        assert [move.sequence for move in second.moves] == [2, 3]

    play(database, story)


def test_a_try_that_failed_is_due_again_later_and_counts(database):
    async def story(store):
        new = subscribed()
        await store.create(new)
        (first,) = await take(store)
        later = time.time() + 500
        bad = told(1, Status.PENDING, None, error="connection refused")
        await store.outbox.record([Sent(task_id=new.id, claim=first.claim, tries=(bad,), due=later)])
        assert await take(store) == []
        assert [one.due for one in await store.outbox.lanes(limit=9)] == [pytest.approx(later)]
        (again,) = await take(store, now=later)
        assert [move.tries for move in again.moves] == [1]
        # A due time that no try is ever put off to was made by a clock that has been set back.
        far = Sent(task_id=new.id, claim=again.claim, tries=(bad,), due=later + 10**6)
        await store.outbox.record([far])
        assert len(await take(store)) == 1
        (delivery,) = (await store.outbox.subscription(new.id, LOCAL)).deliveries
        assert (delivery.tries, delivery.error, delivery.code) == (2, "connection refused", None)

    play(database, story)


def test_a_listener_that_wants_no_more_gets_no_more(database):
    async def story(store):
        new = subscribed()
        await store.create(new)
        await store.cancel(new.id, LOCAL, 2.0)
        (one,) = await take(store)
        gone = told(1, Status.ENDED, 410)
        await store.outbox.record([Sent(task_id=new.id, claim=one.claim, tries=(gone,), due=0.0)])
        subscription = await store.outbox.subscription(new.id, LOCAL)
        assert subscription.ended
        assert [d.status for d in subscription.deliveries] == ["ended"] * 3
        assert await take(store) == []
        other = subscribed()
        await store.create(other)
        (one,) = await take(store)
        await store.outbox.record([Sent(task_id=other.id, claim=one.claim, tries=(gone,), due=0.0)])
        await ended(store, other)
        assert len((await store.outbox.subscription(other.id, LOCAL)).deliveries) == 1
        assert await store.check() == []

    play(database, story)


def test_what_failed_is_sent_again_when_somebody_asks_and_so_is_one_that_was_delivered(database):
    async def story(store):
        new = subscribed()
        await store.create(new)
        await store.cancel(new.id, LOCAL, 2.0)
        (one,) = await take(store)
        tries = (told(1), told(2, Status.FAILED, 500), told(3, Status.FAILED, 500))
        await store.outbox.record([Sent(task_id=new.id, claim=one.claim, tries=tries, due=0.0)])
        assert await store.outbox.backlog() != (await store.outbox.backlog()).__class__(
            pending=0, failed=0, oldest=None
        )
        assert (await store.outbox.backlog()).failed == 2
        now = time.time()
        assert await store.outbox.redeliver(new.id, LOCAL, time=now) == 2
        assert await store.outbox.redeliver(new.id, LOCAL, time=now) == 0
        (one,) = await take(store)
        assert [move.sequence for move in one.moves] == [2, 3]
        await deliver(store, one)
        assert await store.outbox.redeliver(new.id, LOCAL, time=now, sequence=1) == 1
        assert await store.outbox.redeliver(new.id, LOCAL, time=now, sequence=9) == 0
        (one,) = await take(store)
        assert [move.sequence for move in one.moves] == [1]
        await deliver(store, one)
        assert await store.check() == []

    play(database, story)


def test_deliveries_are_shown_to_who_may_see_the_task(database):
    async def story(store):
        new = subscribed("ann")
        await store.create(new)
        shown = await store.outbox.subscription(new.id, Caller("ann"))
        assert (shown.owner, shown.url, shown.ended) == ("ann", f"{HOST}/hook", False)
        assert await store.outbox.subscription(new.id, LOCAL) == shown
        assert await store.outbox.subscription(new.id, Caller("bob")) is None
        assert await store.outbox.redeliver(new.id, Caller("bob"), time=1.0) is None

    play(database, story)


def test_lanes_come_by_name_each_once_whatever_waits_in_them(database):
    hosts = [f"http://{name}.example:80" for name in "abc"]

    async def story(store):
        await asyncio.gather(*(store.create(subscribed(who, host)) for host in hosts for who in ("ann", "b c") * 2))
        lanes = [one.lane for one in await store.outbox.lanes(limit=100)]
        assert lanes == sorted(lane_of(host, who) for host in hosts for who in ("ann", "b c"))
        assert [one.lane for one in await store.outbox.lanes(limit=2, after=lanes[1])] == lanes[2:4]
        assert (origin_of(lanes[1]), owner_of(lanes[1])) == (hosts[0], "b c")
        out = await take(store, lanes[:3], each=1)
        assert sorted(one.lane for one in out) == lanes[:3]

    play(database, story)


def test_what_waits_is_counted(database):
    async def story(store):
        created = time.time() - 100
        await store.create(subscribed(created=created))
        await store.create(subscribed())
        backlog = await store.outbox.backlog()
        assert (backlog.pending, backlog.failed, backlog.oldest) == (2, 0, pytest.approx(created))
        for one in await take(store):
            await deliver(store, one)
        assert (await store.outbox.backlog()).oldest is None

    play(database, story)


def test_who_waits_to_send_is_woken_by_a_move(database):
    async def story(store):
        async with asyncio.timeout(20):
            await store.outbox.wait(0.0)
            new = subscribed()
            await store.create(new)
            while not await store.outbox.lanes(limit=1):
                await store.outbox.wait(10.0)

    play(database, story)


async def give_up(store, before, *, limit=1000, after=None, origin=HOST, now=None):
    return await store.outbox.give_up(origin, now=now or time.time(), before=before, limit=limit, after=after)


def test_what_a_host_was_not_told_of_in_time_fails_and_what_came_later_waits_on(database):
    async def story(store):
        old, new, elsewhere = (
            subscribed(created=10.0),
            subscribed(created=time.time()),
            subscribed(host=OTHER, created=1.0),
        )
        for each in (old, new, elsewhere):
            await store.create(each)
        await store.cancel(old.id, LOCAL, 20.0)
        assert await give_up(store, 15.0) == (1, None)
        shown = (await store.outbox.subscription(old.id, LOCAL)).deliveries
        assert [(one.status, one.tries) for one in shown] == [("failed", 0), ("pending", 0), ("pending", 0)]
        assert "nobody answers" in shown[0].error
        assert [move.sequence for one in await take(store) if one.task_id == old.id for move in one.moves] == [2, 3]
        assert (await store.outbox.backlog()).failed == 1
        assert await give_up(store, 15.0) == (0, None)
        assert await store.check() == []

    play(database, story)


def test_what_is_given_up_whole_waits_no_more_and_can_be_sent_again_by_hand(database):
    async def story(store):
        new = subscribed(created=10.0)
        await store.create(new)
        assert await give_up(store, 15.0) == (1, None)
        assert list(await store.outbox.lanes(limit=9)) == []
        assert (await store.outbox.backlog()).oldest is None
        assert await store.outbox.redeliver(new.id, LOCAL, time=time.time()) == 1
        (one,) = await take(store)
        await deliver(store, one)
        # The next move is told again.
        await store.cancel(new.id, LOCAL, time.time())
        assert [move.sequence for one in await take(store) for move in one.moves] == [2, 3]
        assert await store.check() == []

    play(database, story)


def test_what_somebody_has_taken_is_not_given_up_before_his_time_is_over(database):
    async def story(store):
        new = subscribed(created=10.0)
        await store.create(new)
        (one,) = await take(store)
        assert await give_up(store, 15.0) == (0, None)
        await deliver(store, one)
        assert [d.status for d in (await store.outbox.subscription(new.id, LOCAL)).deliveries] == ["delivered"]
        assert await store.check() == []

    play(database, story)


def test_a_host_is_gone_through_in_pages_lane_by_lane_and_each_task_once(database):
    async def story(store):
        whose = ("", "ann", "b c") * 4
        news = [subscribed(who, created=10.0 + number % 2) for number, who in enumerate(whose)]
        news += [subscribed(host=f"{HOST}1", created=10.0)]  # 443 and 4431 begin alike
        await asyncio.gather(*map(store.create, news))
        counts, after = [], None
        while counts == [] or after is not None:
            many, after = await give_up(store, 15.0, limit=5, after=after)
            counts.append(many)
        assert counts == [5, 5, 2]
        assert [one.lane for one in await store.outbox.lanes(limit=9)] == [lane_of(f"{HOST}1", "local")]
        assert await store.check() == []

    play(database, story)


def test_deliveries_go_with_their_task(database):
    async def story(store):
        new = subscribed(created=1.0)
        await store.create(new)
        await ended(store, new, time=2.0)
        assert (await store.prune(tasks_before=10.0, events_before=None)).tasks == 1
        assert list(await store.outbox.lanes(limit=9)) == []
        assert await take(store) == []

    play(database, story)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fates=st.lists(st.sampled_from(["delivered", "again", "failed", "lost"]), min_size=1, max_size=12), data=st.data()
)
def test_whatever_becomes_of_tries_each_move_is_settled_once_and_in_order(database, fates, data):
    async def story():
        async with opened(database) as store:
            new = subscribed()
            await store.create(new)
            await store.cancel(new.id, LOCAL, time.time())
            heard = []
            fates_left = [*fates, *["delivered"] * 3]
            for fate in fates_left:
                out = [
                    one
                    for one in await take(store, hold_seconds=0.0 if fate == "lost" else 120.0)
                    if one.task_id == new.id
                ]
                if not out or fate == "lost":
                    continue
                (one,) = out
                assert [move.sequence for move in one.moves] == list(range(len(heard) + 1, 4))
                many = data.draw(st.integers(1, len(one.moves)))
                status = {"delivered": Status.DELIVERED, "again": Status.PENDING, "failed": Status.FAILED}[fate]
                sequences = [move.sequence for move in one.moves[:many]]
                tries = (*(told(n) for n in sequences[:-1]), told(sequences[-1], status))
                heard += sequences if status is not Status.PENDING else sequences[:-1]
                await store.outbox.record([Sent(task_id=new.id, claim=one.claim, tries=tries, due=time.time())])
                assert [line for line in await store.check() if new.id in line] == []

    asyncio.run(story())
