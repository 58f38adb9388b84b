"""What every store promises of an Idempotency-Key: the same id for a day, for as long as there is the task."""

from fakes.databases import play
from fakes.tasks import many, new_task
from tesk.caller import LOCAL
from tesk.store.rows import Created


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
