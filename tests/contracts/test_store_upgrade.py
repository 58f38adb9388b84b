"""What every store promises to who had an older TESK: the database is brought up to date, with all that is in it."""

import re

from fakes.databases import is_postgres, play, raw
from fakes.tasks import new_task
from tesk.caller import LOCAL
from tesk.store.migrate import migrations
from tesk.store.rendered import Rendered
from tesk.tes.state import State
from tesk.tes.view import View


def of_version_one(database, new):
    """Make a database as the first version did, with a task in it."""
    if is_postgres(database):
        steps, body = migrations("postgres"), f"decode('{new.body.hex()}', 'hex')"
        begin = [
            "CREATE SCHEMA tesk",
            "CREATE TABLE version (version integer NOT NULL)",
            "INSERT INTO version VALUES (1)",
        ]
    else:
        steps, body = migrations("sqlite"), f"x'{new.body.hex()}'"
        begin = [f"PRAGMA application_id = {0x7465736B}", "PRAGMA user_version = 1"]
    for statement in (
        *begin,
        *filter(str.strip, re.sub("--.*", "", steps[0].sql).split(";")),
        "INSERT INTO task (id, owner, state, created, sequence, attempts, failures, due, cpu_cores, ram_bytes, disk_bytes,"
        f" name) VALUES ('{new.id}', 'local', 'QUEUED', 1, 1, 0, 0, 0, 1, 1, 1, '')",
        f"INSERT INTO body (id, body, pairs) VALUES ('{new.id}', {body}, '')",
    ):
        raw(database, statement)
    return steps


def test_a_database_of_the_first_version_is_brought_up_to_date_with_what_is_in_it(database):
    new = new_task()
    steps = of_version_one(database, new)

    async def look(store):
        rendered = Rendered(store)
        assert (await rendered.get(new.id, LOCAL, View.FULL)).state is State.QUEUED
        await store.cancel(new.id, LOCAL, 1.0)
        assert (await rendered.get(new.id, LOCAL, View.FULL)).state is State.CANCELED

    play(database, look)
    number = "SELECT max(version) FROM version" if is_postgres(database) else "PRAGMA user_version"
    assert raw(database, number) == [(steps[-1].version,)]
