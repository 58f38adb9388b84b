"""One PostgreSQL, several servers: what one does while the others act, and when it is gone."""

import asyncio
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from fakes.databases import opened, play, raw
from fakes.tasks import new_task
from tesk.caller import LOCAL
from tesk.errors import StartError, Unavailable
from tesk.store.connect import store_at
from tesk.store.migrate import migrations
from tesk.store.rows import Move
from tesk.tes.state import State
from tesk.tes.view import View

BOUND_SECONDS = 60

EVENT = """
    INSERT INTO event (position, id, owner, sequence, state, attempt, time)
    SELECT ((pg_current_xact_id()::text::bigint + shift) << 16), '{}', 'local', 1, 'QUEUED', 0, 0 FROM origin
"""


async def connected(url):
    return await asyncpg.connect(url, server_settings={"search_path": "tesk"})


@pytest.mark.parametrize("writes_first", [True, False])
def test_events_wait_for_a_transaction_that_began_before_them(postgres_url, writes_first):
    """Whichever of two transactions takes its place in the order first, nobody sees the later before the earlier."""

    async def story(store):
        early = await connected(postgres_url)
        transaction = early.transaction()
        await transaction.start()
        await early.execute(EVENT.format("early") if writes_first else "SELECT pg_current_xact_id()")
        late = new_task()
        await store.create(late)
        assert await store.events(after=0, limit=9) == []
        assert await store.get(late.id, LOCAL, View.MINIMAL) is not None
        if not writes_first:
            await early.execute(EVENT.format("early"))
        await transaction.commit()
        seen = await store.events(after=0, limit=9)
        assert [event.task_id for event in seen] == ["early", late.id]
        await early.close()

    play(postgres_url, story)


def test_nothing_appears_below_what_a_reader_has_seen(postgres_url):
    """Readers that follow the stream while many write see each event once, in order."""
    total = 300

    async def story(store):
        async with opened(postgres_url) as other:
            seen = []

            async def follow():
                while len(seen) < total:
                    for event in await other.events(after=seen[-1].position if seen else 0, limit=50):
                        assert not seen or event.position > seen[-1].position
                        seen.append(event)

            await asyncio.gather(follow(), *((store, other)[n % 2].create(new_task()) for n in range(total)))
            assert len({event.task_id for event in seen}) == total
            assert await store.events(after=0, limit=999) == seen

    play(postgres_url, story)


def test_after_a_restore_in_a_younger_cluster_positions_go_on_above(postgres_url):
    async def before(store):
        await store.create(new_task())

    play(postgres_url, before)
    raw(postgres_url, "UPDATE event SET position = position + (1000000::bigint << 16) RETURNING id")

    async def after(store):
        (old,) = await store.events(after=0, limit=9)
        new = new_task()
        await store.create(new)
        (fresh,) = await store.events(after=old.position, limit=9)
        assert fresh.task_id == new.id

    play(postgres_url, after)
    play(postgres_url, lambda store: store.ping())
    assert raw(postgres_url, "SELECT count(DISTINCT position >> 40) FROM event") == [(1,)]


def test_two_servers_that_start_the_same_tasks_share_them(postgres_url):
    news = [new_task() for _ in range(100)]

    async def story(store):
        async with opened(postgres_url) as other:
            await asyncio.gather(*(store.create(new) for new in news))
            servers = [
                (server, await server.acquire(place, "test", 60)) for server, place in ((store, "a"), (other, "b"))
            ]
            starts = [
                server.begin(lease, new.id, 1.0)
                for server, lease in servers
                for new in (news, news[::-1])[lease.place == "b"]
            ]
            begun = [one for one in await asyncio.gather(*starts) if one is not None]
            assert len(begun) == len({one.id for one in begun}) == 100
            ends = [
                server.move(
                    lease, Move(task_id=new.id, attempt=1, old=State.INITIALIZING, new=State.COMPLETE, time=2.0)
                )
                for server, lease in servers
                for new in news
            ]
            assert sum(await asyncio.gather(*ends)) == 100
            assert await store.check() == []

    play(postgres_url, story)


def test_what_one_server_does_wakes_who_waits_at_the_other(postgres_url):
    async def story(store):
        async with opened(postgres_url) as other:
            # It hears from now on: whatever was before may have been missed.
            await other.work(BOUND_SECONDS)
            new = new_task()
            async with asyncio.timeout(BOUND_SECONDS), asyncio.TaskGroup() as group:
                waiter = group.create_task(other.work(600))
                await store.create(new)
                await waiter
                waiter = group.create_task(other.changed(new.id, State.QUEUED, 600))
                await store.cancel(new.id, LOCAL, 1.0)
                await waiter

    play(postgres_url, story)


def test_a_database_that_is_gone_is_unavailable_and_comes_back(postgres_server, postgres_url):
    new, later = new_task(), new_task()

    async def story(store):
        await store.create(new)
        await asyncio.to_thread(postgres_server.stop, signal.SIGQUIT)
        try:
            for verb in (store.ping(), store.create(later), store.get(new.id, LOCAL, View.FULL)):
                with pytest.raises(Unavailable) as gone:
                    await verb
                assert gone.value.retry_after_seconds
        finally:
            await asyncio.to_thread(postgres_server.start)

        await store.ping()
        assert not (await store.create(later)).repeated
        assert (await store.get(new.id, LOCAL, View.FULL)).body == new.body
        assert await store.check() == []

    play(postgres_url, story)


@asynccontextmanager
async def unending(url):
    """Give the URL of a way to the database on which what the server says arrives, but not that it has hung up."""
    at = urlsplit(url)
    last_words, ends = asyncio.Semaphore(0), []

    async def join(reader, writer):
        server_reader, server_writer = await asyncio.open_connection(at.hostname, at.port)
        ends.extend((writer, server_writer))

        async def pass_on(source, target):
            hung_up = False
            while data := await source.read(65536):
                target.write(data)
                if hung_up := b"57P01" in data:
                    last_words.release()
            if not hung_up:
                target.close()

        await asyncio.gather(pass_on(reader, server_writer), pass_on(server_reader, writer))

    async with await asyncio.start_server(join, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        yield at._replace(netloc=f"{at.username}@127.0.0.1:{port}").geturl(), last_words
        for writer in ends:
            writer.close()


def test_a_connection_that_its_server_is_about_to_end_is_given_up(postgres_url):
    async def whole():
        async with unending(postgres_url) as (url, last_words), opened(url) as store:
            # It hears now.
            await store.work(BOUND_SECONDS)
            other = await connected(postgres_url)
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND datname = current_database()"
            )
            await other.close()
            # Of the connection for statements and of the one that listens.
            for _ in range(2):
                await last_words.acquire()
            with pytest.raises(Unavailable):
                await store.ping()
            await store.ping()

    async def bounded():
        async with asyncio.timeout(BOUND_SECONDS):
            await whole()

    asyncio.run(bounded())


def test_a_password_never_shows_and_a_wrong_address_is_a_sentence():
    async def whole():
        with pytest.raises(StartError, match="cannot open the PostgreSQL database") as wrong:
            await store_at("postgresql://user:secret-word@127.0.0.1:1/db").open()
        assert "secret-word" not in str(wrong.value)

    asyncio.run(whole())


def test_a_copy_is_made_with_pg_dump(postgres_server, postgres_url, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(postgres_server.programs), prepend=":")
    new = new_task()
    copy = tmp_path / "copy"

    async def story(store):
        await store.create(new)
        await store.backup(str(copy))
        with pytest.raises(StartError, match="backup"):
            await store.backup(str(tmp_path / "nowhere" / "copy"))

    play(postgres_url, story)
    restored = postgres_server.new_database()
    subprocess.run([postgres_server.programs / "pg_restore", "-d", restored, copy], check=True)

    async def look(store):
        assert (await store.get(new.id, LOCAL, View.FULL)).body == new.body
        assert [event.task_id for event in await store.events(after=0, limit=9)] == [new.id]

    play(restored, look)


def test_without_pg_dump_a_copy_says_what_is_missing(postgres_url, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    async def story(store):
        with pytest.raises(StartError, match="postgresql-client"):
            await store.backup(str(tmp_path / "copy"))

    play(postgres_url, story)


def test_without_asyncpg_a_start_says_what_to_install():
    program = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from tesk.store.connect import store_at\n"
        "try: store_at('postgresql://here/db')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "StartError PostgreSQL wants one package more: pip install 'tesk[postgres]'\n"


def test_two_servers_that_start_on_an_empty_database_make_it_ready_once(postgres_url):
    async def whole():
        async with asyncio.timeout(BOUND_SECONDS):
            stores = [store_at(postgres_url) for _ in range(4)]
            await asyncio.gather(*(store.open() for store in stores))
            for store in stores:
                await store.create(new_task())
                await store.close()

    asyncio.run(whole())
    assert raw(postgres_url, "SELECT version FROM version") == [(step.version,) for step in migrations("postgres")]
