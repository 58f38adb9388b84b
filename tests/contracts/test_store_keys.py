"""What every store promises of an Idempotency-Key: the same id for a day, for as long as there is the task."""

import asyncio

import pytest

from fakes.databases import play, raw
from fakes.tasks import many, new_task
from tesk.caller import LOCAL
from tesk.errors import Unprocessable
from tesk.store.rows import Created


def test_the_same_key_and_body_give_the_same_id_for_a_day(database):
    first = new_task("ann", created=1000.0, idempotency_key="k", body_hash=b"x")

    def again(**changes):
        return new_task(**{"owner": "ann", "created": 2000.0, "idempotency_key": "k", "body_hash": b"x", **changes})

    async def story(store):
        assert not (await store.create(first)).repeated
        same, others = await asyncio.gather(store.create(again()), store.create(again(owner="ben")))
        assert (same.id, same.repeated) == (first.id, True)
        assert not others.repeated
        with pytest.raises(Unprocessable):
            await store.create(again(body_hash=b"y"))
        late = await store.create(again(created=1000.0 + 24 * 3600, body_hash=b"y"))
        assert not late.repeated
        assert len(await store.events(after=0, limit=10)) == 3

    play(database, story)


def test_of_many_at_once_with_the_same_key_one_is_stored(database):
    news = [new_task(idempotency_key=f"k{n % 3}", body_hash=b"x", tags={"n": str(n)}) for n in range(30)]

    async def story(store):
        created = await asyncio.gather(*(store.create(new) for new in news))
        assert len({one.id for one in created}) == 3
        assert sum(not one.repeated for one in created) == 3
        assert len(await store.events(after=0, limit=100)) == 3

    play(database, story)


def test_old_keys_are_forgotten(database):
    old = [new_task(created=1000.0 + n, idempotency_key=f"old{n}", body_hash=b"") for n in range(8)]

    async def story(store):
        await many(store, old)
        for n in range(2):
            await store.create(new_task(created=500_000.0, idempotency_key=f"new{n}", body_hash=b""))

    play(database, story)
    assert raw(database, "SELECT count(*) FROM idempotency") == [(2,)]


def test_a_key_goes_with_its_task(database):
    old, kept = (new_task(created=1000.0, idempotency_key=key, body_hash=b"x") for key in ("old", "kept"))

    async def story(store):
        await many(store, (old, kept))
        await store.cancel(old.id, LOCAL, 1001.0)
        assert (await store.prune(tasks_before=2000.0, events_before=None)).tasks == 1
        anew = new_task(created=3000.0, idempotency_key="old", body_hash=b"x")
        assert await store.create(anew) == Created(id=anew.id, repeated=False)
        again = new_task(created=3000.0, idempotency_key="kept", body_hash=b"x")
        assert await store.create(again) == Created(id=kept.id, repeated=True)

    play(database, story)
