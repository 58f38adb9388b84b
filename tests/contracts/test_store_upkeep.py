"""What every store promises to people: old things go, damage is named, a newer database is refused."""

import pytest

from fakes.databases import is_postgres, opened, play, raw
from fakes.tasks import ended, many, new_task
from tesk.caller import LOCAL
from tesk.errors import StoreTooNew
from tesk.store.rows import ListQuery, task_of
from tesk.tes.logs import ExecutorLog
from tesk.tes.view import View


def test_old_ended_tasks_and_events_are_pruned_with_all_that_belongs_to_them(database):
    old, recent, running = (new_task("ann", created=1.0, tags={"k": "v"}) for _ in range(3))

    async def story(store):
        await many(store, (old, recent, running))
        await ended(store, old, time=50.0, executor_logs=(ExecutorLog(stdout="x"),), notes=("n",))
        await ended(store, recent, time=150.0)
        counts = await store.prune(tasks_before=100.0, events_before=None)
        assert (counts.tasks, counts.events) == (1, 0)
        query = ListQuery(owner="ann", tags=(("k", "v"),))
        assert [*map(task_of, (await store.list(query)).marks)] == [running.id, recent.id]
        assert {event.task_id for event in await store.events(after=0, limit=100)} == {recent.id, running.id}
        newest = (await store.events(after=0, limit=100))[-1].position
        counts = await store.prune(tasks_before=None, events_before=1000.0)
        assert (counts.tasks, counts.events) == (0, 4)
        assert await store.check() == []
        await store.cancel(running.id, LOCAL, 2000.0)
        assert [event.sequence for event in await store.events(after=newest, limit=100)] == [2, 3]

    play(database, story)
    for table in ("attempt", "executor_log", "body", "tag", "event"):
        assert raw(database, f"SELECT count(*) FROM {table} WHERE id = '{old.id}'") == [(0,)]


def test_a_check_names_what_is_wrong(database):
    hole, wrong, bare = (new_task() for _ in range(3))

    async def make(store):
        await many(store, (hole, wrong, bare))
        await ended(store, hole)
        assert await store.check() == []

    async def look(store):
        return sorted(await store.check())

    play(database, make)
    raw(database, f"DELETE FROM event WHERE id = '{hole.id}' AND sequence = 2")
    raw(database, f"UPDATE task SET state = 'RUNNING' WHERE id = '{wrong.id}'")
    raw(database, f"DELETE FROM body WHERE id = '{bare.id}'")
    found = play(database, look)
    assert len(found) == 3
    for new in (hole, wrong, bare):
        assert sum(new.id in line for line in found) == 1


def test_a_store_that_is_opened_again_has_it_all(database):
    new = new_task(tags={"a": "b"})

    async def make(store):
        await store.create(new)

    async def look(store):
        assert (await store.list(ListQuery(owner=None, tags=(("a", None),)))).marks == (
            await store.mark(new.id, LOCAL),
        )
        assert (await store.get(new.id, LOCAL, View.FULL)).body == new.body
        assert len(await store.events(after=0, limit=9)) == 1

    play(database, make)
    play(database, look)


def test_a_newer_database_is_refused_with_a_sentence(database):
    async def nothing(store):
        pass

    play(database, nothing)
    raw(database, "UPDATE version SET version = 999" if is_postgres(database) else "PRAGMA user_version = 999")
    with pytest.raises(StoreTooNew, match="newer TESK"):
        play(database, nothing)


def test_a_tool_beside_the_server_prunes_and_checks(database):
    new = new_task(created=1.0)

    async def story(store):
        await store.create(new)
        await store.cancel(new.id, LOCAL, 2.0)
        async with opened(database, exclusive=False) as tool:
            assert await tool.check() == []
            assert (await tool.prune(tasks_before=10.0, events_before=None)).tasks == 1
        assert await store.get(new.id, LOCAL, View.MINIMAL) is None

    play(database, story)
