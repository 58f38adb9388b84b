"""What every store promises to the API: tasks kept, shown and listed."""

import asyncio
import json
import random

import msgspec
import pytest

from fakes.databases import play
from fakes.tasks import ended, many, new_task
from tesk.caller import LOCAL, Caller
from tesk.errors import Overloaded
from tesk.store.reads import LOOKED_AT
from tesk.store.rows import Labels, ListQuery, task_of
from tesk.tes.logs import ExecutorLog, OutputFileLog
from tesk.tes.state import State
from tesk.tes.task import Extension
from tesk.tes.view import View

ANN, BEN = Caller("ann"), Caller("ben")


async def pages(store, query: ListQuery):
    """Return every id of a list, page by page."""
    found, count = [], 0
    while True:
        page = await store.list(query)
        assert len(page.marks) <= query.page_size
        found += map(task_of, page.marks)
        count += 1
        if page.next_before is None:
            return found, count
        query = msgspec.structs.replace(query, before=page.next_before)


def test_a_created_task_is_there_with_its_first_event(database):
    new = new_task(created=5.0)

    async def story(store):
        created = await store.create(new)
        assert (created.id, created.repeated) == (new.id, False)
        task = await store.get(new.id, LOCAL, View.MINIMAL)
        assert (task.id, task.owner, task.state, task.created) == (new.id, "local", State.QUEUED, 5.0)
        (event,) = await store.events(after=0, limit=10)
        assert (event.task_id, event.sequence, event.previous_state, event.state) == (new.id, 1, None, State.QUEUED)
        assert (event.attempt, event.time) == (0, 5.0)
        assert await store.newest_id() == new.id

    play(database, story)


def test_an_empty_store_says_so(database):
    async def story(store):
        await store.ping()
        assert await store.newest_id() is None
        assert await store.get(new_task().id, LOCAL, View.FULL) is None
        assert (await store.list(ListQuery(owner=None))).marks == ()
        assert await store.tasks([new_task().id], View.FULL) == []
        assert await store.counts() == {}
        assert await store.next_due(0.0) is None
        assert await store.check() == []

    play(database, story)


def test_a_creation_may_be_repeated(database):
    new, other = new_task(tags={"a": "b"}), new_task()

    async def story(store):
        await store.create(new)
        again, fresh = await asyncio.gather(store.create(new), store.create(other))
        assert (again.id, again.repeated) == (new.id, True)
        assert (fresh.id, fresh.repeated) == (other.id, False)
        assert len(await store.events(after=0, limit=10)) == 2

    play(database, story)


@pytest.mark.parametrize("limits", [{"pending_limit": 5}, {"pending_bytes": 5 * len(new_task().body)}])
def test_too_many_that_wait_are_refused_before_anything_is_stored(database, limits):
    news = [new_task() for _ in range(20)]

    async def story(store):
        answers = await asyncio.gather(*(store.create(new) for new in news), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Overloaded)]
        assert len(refused) == 15
        assert all(answer.retry_after_seconds for answer in refused)
        assert len(await store.events(after=0, limit=100)) == 5
        assert not (await store.create(news[-1])).repeated

    play(database, story, **limits)


def test_one_sees_ones_own_tasks_and_an_admin_all(database):
    new = new_task("ann")

    async def story(store):
        await store.create(new)
        assert await store.mark(new.id, BEN) is None
        assert await store.mark(new.id, ANN) == await store.mark(new.id, LOCAL) is not None
        for view in View:
            assert await store.get(new.id, BEN, view) is None
            assert (await store.get(new.id, ANN, view)).id == new.id
            assert (await store.get(new.id, LOCAL, view)).id == new.id

    play(database, story)


def test_each_view_shows_its_part(database):
    extension = Extension(untyped_inputs=(0,), warnings=("so",))
    new, plain = new_task(extension=extension, cpu_cores=0.5, ram_bytes=2 * 10**9, disk_bytes=3), new_task()
    logs = (
        ExecutorLog(start_time="s", end_time="e", stdout='out "\0\n', stderr="", exit_code=0),
        ExecutorLog(exit_code=3),
    )
    files = (OutputFileLog(url="u", path="/p", size_bytes="7"),)

    async def story(store):
        await many(store, (new, plain))
        await ended(
            store,
            new,
            notes=("one", 'two "\0'),
            metadata={"m": "ä"},
            start_time=0.5,
            end_time=86400.25,
            executor_logs=logs,
            output_logs=files,
        )
        minimal, basic, full = [await store.get(new.id, LOCAL, view) for view in View]
        assert (minimal.body, minimal.attempts) == (b"", ())
        for task in (basic, full):
            assert (task.body, task.extension, task.state) == (new.body, extension, State.COMPLETE)
            assert (task.cpu_cores, task.ram_bytes, task.disk_bytes) == (0.5, 2 * 10**9, 3)
            (attempt,) = task.attempts
            assert json.loads(attempt.log) == {
                "metadata": {"m": "ä"},
                "start_time": "1970-01-01T00:00:00.500Z",
                "end_time": "1970-01-02T00:00:00.250Z",
                "outputs": [{"url": "u", "path": "/p", "size_bytes": "7"}],
            }
            assert [json.loads(log.log) for log in attempt.executors] == [
                {"start_time": "s", "end_time": "e", "exit_code": 0},
                {"exit_code": 3},
            ]
        assert json.loads(full.attempts[0].system_logs) == ["one", 'two "\0']
        assert [(log.stdout, log.stderr) for log in full.attempts[0].executors] == [
            (b'"out \\"\\u0000\\n"', b'""'),
            (None, None),
        ]
        assert json.loads(basic.attempts[0].system_logs) == []
        assert all(log.stdout is log.stderr is None for log in basic.attempts[0].executors)
        for view in (View.BASIC, View.FULL):
            both = [await store.get(one.id, LOCAL, view) for one in (plain, new)]
            assert sorted(await store.tasks([new.id, plain.id], view), key=lambda task: task.id, reverse=True) == both
            assert (await store.list(ListQuery(owner=None))).marks == tuple(task.mark for task in both)
            assert [await store.mark(task.id, LOCAL) for task in both] == [task.mark for task in both]

    play(database, story)


def test_a_task_that_was_never_started_has_one_tasklog(database):
    new = new_task()

    async def story(store):
        await store.create(new)
        (attempt,) = (await store.get(new.id, LOCAL, View.FULL)).attempts
        assert (attempt.number, json.loads(attempt.log), attempt.system_logs, attempt.executors) == (
            1,
            {"outputs": []},
            b"[]",
            (),
        )

    play(database, story)


def test_paging_visits_each_task_of_the_first_page_once_while_tasks_arrive(database):
    news = [new_task() for _ in range(25)]

    async def story(store):
        await many(store, news)
        found, before = [], None
        while True:
            page = await store.list(ListQuery(owner=None, page_size=7, before=before))
            found += map(task_of, page.marks)
            await many(store, [new_task() for _ in range(3)])
            before = page.next_before
            if before is None:
                break
        assert found == sorted((new.id for new in news), reverse=True)

    play(database, story)


def test_the_last_page_says_that_it_is_the_last(database):
    async def story(store):
        await many(store, [new_task() for _ in range(6)])
        found, count = await pages(store, ListQuery(owner=None, page_size=3))
        assert (len(found), count) == (6, 2)

    play(database, story)


def test_filters_find_what_a_look_at_every_task_finds(database):
    dice = random.Random(7)
    keys, values, owners = ("a", "b", ""), ("1", "2", ""), ("ann", "ben", "local")
    news = [
        new_task(
            dice.choice(owners),
            name=dice.choice(("", "x", "xy", "X%", "x_\0ü")),
            tags={key: dice.choice(values) for key in keys if dice.random() < 0.6},
        )
        for _ in range(120)
    ]

    async def story(store):
        await many(store, news)
        states = {}
        for new in news:
            states[new.id] = State.QUEUED if dice.random() < 0.5 else await store.cancel(new.id, LOCAL, 1.0)
        for _ in range(150):
            query = ListQuery(
                owner=dice.choice((None, *owners)),
                state=dice.choice((None, State.QUEUED, State.CANCELED, State.PREEMPTED)),
                name_prefix=dice.choice(("", "x", "x_\0", "X%", "xyz")),
                tags=tuple(
                    (dice.choice((*keys, "none")), dice.choice((*values, None)))
                    for _ in range(dice.choice((0, 0, 1, 2)))
                ),
                page_size=dice.choice((1, 10, 300)),
            )
            wanted = [
                new.id
                for new in reversed(news)
                if query.owner in (None, new.owner)
                and query.state in (None, states[new.id])
                and new.name.startswith(query.name_prefix)
                and all(key in new.tags and value in (None, new.tags[key]) for key, value in query.tags)
            ]
            assert (await pages(store, query))[0] == wanted, query

    play(database, story)


def test_a_page_looks_at_so_many_rows_and_no_more(database):
    rare = new_task(name="rare", tags={"t": "u"})
    news = [rare, *(new_task(name="often", tags={"t": "u"}) for _ in range(LOOKED_AT + 10))]

    async def story(store):
        await many(store, news)
        for tags in ((), (("t", "u"),)):
            query = ListQuery(owner=None, name_prefix="rare", tags=tags)
            first = await store.list(query)
            assert first.marks == ()
            assert first.next_before is not None
            found, count = await pages(store, query)
            assert (found, count) == ([rare.id], 2)

    play(database, story, pending_limit=10**6)


def test_events_come_in_one_order_for_all_and_without_holes_for_each(database):
    news = [new_task(owner) for owner in ("ann", "ben", "ann")]

    async def story(store):
        await many(store, news)
        await ended(store, news[0])
        await store.cancel(news[1].id, LOCAL, 9.0)
        events = await store.events(after=0, limit=100)
        assert len(events) == 7
        assert [event.position for event in events] == sorted({event.position for event in events})
        for new in news:
            own = await store.events(after=0, limit=100, task_ids=(new.id,))
            assert own == [event for event in events if event.task_id == new.id]
            assert [event.sequence for event in own] == list(range(1, len(own) + 1))
            assert [event.previous_state for event in own] == [None, *(event.state for event in own[:-1])]
        assert [event.task_id for event in await store.events(after=0, limit=100, owner="ben")] == [news[1].id] * 3
        assert await store.events(after=0, limit=100, owner="ann", task_ids=(news[1].id,)) == []
        assert await store.events(after=events[2].position, limit=2) == events[3:5]
        assert await store.events(after=events[-1].position, limit=2) == []

    play(database, story)


def test_events_of_named_tasks_and_how_far_all_go(database):
    news = [new_task(owner) for owner in ("ann", "ben", "ann")]

    async def story(store):
        assert await store.span() == (0, 0)
        await many(store, news)
        await store.cancel(news[2].id, LOCAL, 9.0)
        events = await store.events(after=0, limit=100)
        assert await store.span() == (events[0].position, events[-1].position)
        assert [event.owner for event in events[:3]] == ["ann", "ben", "ann"]
        named = (news[0].id, news[2].id, "nobody")
        both = [event for event in events if event.task_id in named]
        assert await store.events(after=0, limit=100, task_ids=named) == both
        assert await store.events(after=both[1].position, limit=1, task_ids=named) == both[2:3]
        assert await store.events(after=0, limit=100, owner="ben", task_ids=named) == []

    play(database, story)


def test_tasks_are_known_by_what_people_call_them(database):
    task = new_task(name="align", tags={"run": "7"})
    plain = new_task()

    async def story(store):
        await many(store, [task, plain])
        labels = await store.labels((task.id, plain.id, "nobody"))
        assert labels == {task.id: Labels(name="align", tags={"run": "7"}), plain.id: Labels()}

    play(database, story)


def test_who_follows_all_tasks_is_woken_by_any(database):
    new = new_task()

    async def story(store):
        async with asyncio.timeout(20):
            for act in (lambda: store.create(new), lambda: store.cancel(new.id, LOCAL, 1.0)):
                await store.moved(0.01)
                waiter = asyncio.ensure_future(store.moved(60))
                await act()
                await waiter

    play(database, story)


def test_who_waits_for_a_change_is_woken(database):
    new = new_task()

    async def story(store):
        await store.create(new)
        await store.changed(new.id, State.RUNNING, 30)
        await store.changed(new.id, State.QUEUED, 0.01)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            waiter = group.create_task(store.changed(new.id, State.QUEUED, 60))
            while not waiter.done():
                await store.cancel(new.id, LOCAL, 1.0)

    play(database, story)


def test_who_waits_for_work_is_woken_also_by_what_came_before(database):
    async def story(store):
        await store.work(0.0)
        await store.create(new_task())
        async with asyncio.timeout(20):
            await store.work(60)
            async with asyncio.TaskGroup() as group:
                waiter = group.create_task(store.work(60))
                while not waiter.done():
                    await store.create(new_task())

    play(database, story)


def test_batches_are_counted(database):
    sizes = []

    async def story(store):
        await many(store, [new_task() for _ in range(40)])

    play(database, story, committed=sizes.append)
    assert sum(sizes) == 40
    assert len(sizes) < 10
