"""One SQLite file: whose it is, what it survives."""

import asyncio
import os
import resource
import sqlite3
import stat
from contextlib import closing, contextmanager

import pytest

from fakes.databases import opened, play
from fakes.tasks import new_task
from tesk.caller import LOCAL
from tesk.errors import StartError, StoreInUse, Unavailable
from tesk.store.connect import store_at
from tesk.store.rows import ListQuery, task_of
from tesk.tes.view import View


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "tesk.db"


def refuses(path, kind, match):
    """Say that nobody may open this."""

    async def whole():
        with pytest.raises(kind, match=match):
            await store_at(str(path)).open()

    asyncio.run(whole())


@contextmanager
def files_no_larger_than(size_bytes):
    """Let every write beyond a size fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_second_server_on_the_same_file_refuses_to_start(path):
    async def story(store):
        with pytest.raises(StoreInUse, match="another TESK server"):
            await store_at(str(path)).open()
        await store.create(new_task())

    play(str(path), story)


def test_a_second_server_is_not_fooled_by_links_to_the_file_or_its_folder(path, tmp_path):
    async def story(store):
        (tmp_path / "other.db").symlink_to(path)
        (tmp_path / "folder").symlink_to(path.parent)
        for name in (tmp_path / "other.db", tmp_path / "folder" / "tesk.db", path.parent / ".." / "data" / "tesk.db"):
            with pytest.raises(StoreInUse):
                await store_at(str(name)).open()

    play(str(path), story)


def test_a_file_with_two_names_is_refused_by_either(path, tmp_path):
    async def story(store):
        pass

    play(str(path), story)
    os.link(path, tmp_path / "twin.db")
    refuses(path, StartError, "hard links")
    refuses(tmp_path / "twin.db", StartError, "hard links")
    (tmp_path / "twin.db").unlink()
    play(str(path), story)


def test_the_lock_goes_with_the_server_and_with_a_start_that_fails(path):
    async def story(store):
        pass

    play(str(path), story)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 1")
    refuses(path, StartError, "another program")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 0x7465736B")
    play(str(path), story)


def test_a_database_of_another_program_is_left_alone(tmp_path):
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    refuses(tmp_path / "theirs.db", StartError, "another program")
    (tmp_path / "text.db").write_text("not a database at all, but long enough to be taken for a header\n" * 20)
    refuses(tmp_path / "text.db", StartError, "cannot open")
    (tmp_path / "folder.db").mkdir()
    refuses(tmp_path / "folder.db", StartError, "cannot open")


def test_only_its_owner_can_read_the_files(path):
    async def story(store):
        await store.create(new_task())
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    play(str(path), story)


def test_a_full_disk_fails_a_batch_whole_and_later_ones_work(path):
    news = [new_task(tags={"a": "b"}) for _ in range(2000)]

    async def story(store):
        await store.create(news[0])
        with files_no_larger_than((path.parent / "tesk.db-wal").stat().st_size + 20_000):
            answers = await asyncio.gather(*(store.create(new) for new in news[1:1000]), return_exceptions=True)
        failed = {new.id for new, answer in zip(news[1:1000], answers, strict=True) if isinstance(answer, Unavailable)}
        assert failed
        assert all(isinstance(answer, Unavailable) or not answer.repeated for answer in answers)
        await asyncio.gather(*(store.create(new) for new in news[1000:]))
        there = {new.id for new in news} - failed
        page = await store.list(ListQuery(owner=None, tags=(("a", "b"),), page_size=2047))
        assert set(map(task_of, page.marks)) == there
        assert len(await store.events(after=0, limit=5000)) == len(there)
        assert await store.check() == []

    play(str(path), story)


def test_a_change_that_breaks_takes_no_other_down(path):
    good, bad = [new_task() for _ in range(5)], new_task(cpu_cores=None)

    async def story(store):
        answers = await asyncio.gather(*(store.create(new) for new in (*good, bad)), return_exceptions=True)
        assert [isinstance(answer, Exception) for answer in answers] == [False] * 5 + [True]
        assert await store.get(bad.id, LOCAL, View.MINIMAL) is None
        assert len(await store.events(after=0, limit=99)) == 5

    play(str(path), story)


def test_leases_of_a_server_that_is_gone_have_ended_whatever_the_clock_says(path):
    async def first(store):
        new = new_task()
        await store.create(new)
        lease = await store.acquire("here", "test", 1e9)
        assert await store.begin(lease, new.id, 1.0)
        return lease

    lease = play(str(path), first)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE lease SET ended = 9e9")

    async def second(store):
        (held,) = await store.unheld(limit=9)
        assert 0.0 <= held.unheld_seconds < 30.0
        assert await store.adopt(await store.acquire("here", "test", 60), held.id)
        assert list(await store.claimed(lease)) == []

    play(str(path), second)


def test_a_copy_made_while_in_use_is_whole(path, tmp_path):
    copy = tmp_path / "copy.db"
    copy.write_text("an older copy")
    news = [new_task() for _ in range(200)]

    async def story(store):
        under_way = [store.create(new) for new in news]
        await store.create(new_task())
        await store.backup(str(copy))
        await asyncio.gather(*under_way)
        with pytest.raises(StartError, match="backup"):
            await store.backup(str(tmp_path / "nowhere" / "copy.db"))

    play(str(path), story)

    async def look(store):
        assert await store.check() == []
        assert len(await store.events(after=0, limit=999)) >= 1

    play(str(copy), look)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.part"))


def test_a_damaged_file_is_found_out(path):
    async def make(store):
        await asyncio.gather(*(store.create(new_task(name="x" * 500)) for _ in range(300)))

    play(str(path), make)
    with path.open("r+b") as file:
        for page in range(20, 60):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)

    async def look(store):
        async with asyncio.timeout(60):
            assert await store.check()

    play(str(path), look)


def test_a_tool_does_not_open_what_was_never_made_ready(path):
    async def whole():
        async with opened(str(path)):
            pass
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 0")
        with pytest.raises(StartError, match="tesk database upgrade"):
            await store_at(str(path), exclusive=False).open()

    asyncio.run(whole())


def test_an_unknown_kind_of_database_is_named(tmp_path):
    with pytest.raises(StartError, match="mysql"):
        store_at("mysql://here/db")
