"""What is shown of a task is never older than the task: over every database, whoever moves it, whatever is kept of it."""

import asyncio
import json

import pytest

from fakes.databases import is_postgres, opened, play
from fakes.tasks import many, new_task
from tesk.caller import LOCAL, Caller
from tesk.store.rendered import Rendered
from tesk.store.rows import ListQuery, Move, Results
from tesk.tes.state import State
from tesk.tes.view import View, render

ALL = ListQuery(owner=None)
VIEWS = (View.BASIC, View.FULL)


class Watched:
    """A store that counts the tasks that are read whole, and lets something happen before each such read."""

    def __init__(self, store, between=None) -> None:
        self._store = store
        self._between = between
        self.read = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def get(self, task_id, caller, view):
        await self._meanwhile(1)
        return await self._store.get(task_id, caller, view)

    async def tasks(self, task_ids, view):
        await self._meanwhile(len(task_ids))
        return await self._store.tasks(task_ids, view)

    async def _meanwhile(self, amount):
        self.read += amount
        if self._between is not None:
            await self._between()


@pytest.mark.parametrize("view", VIEWS)
def test_what_has_not_changed_is_read_once(database, view):
    news = [new_task() for _ in range(5)]

    async def story(store):
        watched = Watched(store)
        rendered = Rendered(watched)
        await many(store, news)
        first = await rendered.list(ALL, view)
        assert first.tasks == [render(await store.get(new.id, LOCAL, view), view) for new in reversed(news)]
        assert await rendered.list(ALL, view) == first
        for json_, new in zip(first.tasks, reversed(news), strict=True):
            assert await rendered.get(new.id, LOCAL, view) == (State.QUEUED, json_)
        assert watched.read == 5
        await store.cancel(news[2].id, LOCAL, 1.0)
        again = await rendered.list(ALL, view)
        assert [json.loads(task)["state"] for task in again.tasks] == [
            "QUEUED",
            "QUEUED",
            "CANCELED",
            "QUEUED",
            "QUEUED",
        ]
        assert watched.read == 6

    play(database, story)


def test_what_moves_between_the_two_reads_is_kept_as_what_it_has_become(database):
    new = new_task()

    async def story(store):
        async def cancel():
            await store.cancel(new.id, LOCAL, 1.0)

        await store.create(new)
        for _ in range(2):
            rendered = Rendered(Watched(store, cancel))
            shown = await rendered.get(new.id, LOCAL, View.FULL)
            assert (shown.state, json.loads(shown.json)["state"]) == (State.CANCELED, "CANCELED")
            assert await rendered.get(new.id, LOCAL, View.FULL) == shown
            assert (await rendered.list(ALL, View.FULL)).tasks == [shown.json]

    play(database, story)


def test_a_list_by_state_shows_none_that_has_left_it_between_the_two_reads(database):
    news = [new_task() for _ in range(3)]

    async def story(store):
        async def change():
            await store.cancel(news[1].id, LOCAL, 1.0)
            assert (await store.prune(tasks_before=50.0, events_before=None)).tasks == 1

        await many(store, news)
        await store.create(gone := new_task(created=1.0))
        await store.cancel(gone.id, LOCAL, 2.0)
        page = await Rendered(Watched(store, change)).list(ListQuery(owner=None, state=State.QUEUED), View.BASIC)
        assert [json.loads(task)["id"] for task in page.tasks] == [news[2].id, news[0].id]

    play(database, story)


def test_what_one_has_seen_nobody_else_sees(database):
    new = new_task("ann")

    async def story(store):
        rendered = Rendered(store)
        await store.create(new)
        for view in View:
            assert await rendered.get(new.id, Caller("ann"), view) is not None
            assert await rendered.get(new.id, Caller("ben"), view) is None
            assert len((await rendered.list(ListQuery(owner="ann"), view)).tasks) == 1
            assert (await rendered.list(ListQuery(owner="ben"), view)).tasks == []

    play(database, story)


def test_another_server_shows_what_this_one_wrote(database):
    if not is_postgres(database):
        pytest.skip("a file has one server")
    new = new_task()

    async def story(store):
        async with opened(database) as other:
            rendered = Rendered(other)
            await store.create(new)
            lease = await store.acquire("here", "test", 60)
            await rendered.get(new.id, LOCAL, View.FULL)
            await store.begin(lease, new.id, 1.0)
            for n in range(3):
                state = State.INITIALIZING
                note = Results(notes=(f"note {n}",))
                assert await store.move(
                    lease, Move(task_id=new.id, attempt=1, old=state, new=state, time=2.0, results=note)
                )
                logs = json.loads((await rendered.get(new.id, LOCAL, View.FULL)).json)["logs"]
                assert len(logs[0]["system_logs"]) == n + 1

    play(database, story)


def test_what_is_kept_is_bounded_and_the_latest_stays(database):
    news = [new_task(body=b'{"x":"%b"}' % (b"y" * 1000)) for _ in range(200)]
    large = new_task(body=b'{"x":"%b"}' % (b"y" * 50_000))

    async def story(store):
        await many(store, [*news, large])
        watched = Watched(store)
        rendered = Rendered(watched, kept_bytes=512 * 1024)
        for new in news:
            await rendered.get(new.id, LOCAL, View.FULL)
            await rendered.get(news[0].id, LOCAL, View.FULL)
        assert watched.read == 200
        kept = rendered._kept[View.FULL]
        assert sum(map(len, [*kept._young.values(), *kept._old.values()])) < 256 * 1024
        for new in (news[-1], news[1], large, large):
            await rendered.get(new.id, LOCAL, View.FULL)
        assert watched.read == 203

    play(database, story)


def test_many_who_ask_at_once_are_all_shown_the_newest(database):
    news = [new_task() for _ in range(20)]

    async def story(store):
        rendered = Rendered(store)
        await many(store, news)
        for new in news:
            await asyncio.gather(store.cancel(new.id, LOCAL, 1.0), *(rendered.list(ALL, View.FULL) for _ in range(3)))
            assert (await rendered.get(new.id, LOCAL, View.FULL)).state is State.CANCELED
        shown = (await rendered.list(ALL, View.FULL)).tasks
        assert {json.loads(task)["state"] for task in shown} == {"CANCELED"}

    play(database, story)
