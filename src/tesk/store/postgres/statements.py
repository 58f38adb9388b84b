"""What is written, each as one statement that is one transaction. Pure.

Rows are locked in the order of their ids, so that two servers never wait for each other in a ring; a guard stands in the
UPDATE once more, where it is tried on the row as it is after the wait.
"""

from typing import NamedTuple

_NOW = "extract(epoch FROM clock_timestamp())::double precision"

LIVING = f"SELECT id FROM lease WHERE expires > {_NOW}"
"""By the database's clock, which all servers share; the time of the moment, not of the transaction's start."""

UNHELD_SECONDS = f"{_NOW} - coalesce(l.expires, 0)"
"""How long ago the lease `l` ended."""

_POSITION = "((pg_current_xact_id()::text::bigint + shift) << 16)"

VISIBLE = "AND position < ((SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + shift FROM origin) << 16)"
"""Nothing can appear below this any more."""

RESUME = """
    WITH newest AS (SELECT max(position) >> 16 AS number FROM event)
    UPDATE origin SET shift = newest.number + 1 - pg_snapshot_xmax(pg_current_snapshot())::text::bigint FROM newest
    WHERE newest.number >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint + shift
"""
"""Where events have positions of the future, this is another cluster than the one that made them: go on above them."""


class _Told(NamedTuple):
    """One event of each row of `moved`, as expressions: its place within the transaction, what it says, and of which rows."""

    place: str
    sequence: str
    previous: str
    state: str
    where: str = "true"


def _telling(*told: _Told, attempt: str, time: str) -> str:
    """Return what writes the events of `moved`, and for tasks with a lane that they are to be told; with RUNG somebody hears."""

    def rows(first: str, source: str, where: str) -> str:
        return " UNION ALL ".join(
            f"SELECT {first.format(place=each.place)}, {each.sequence}, {each.previous}, {each.state}, {attempt}, {time} "
            f"FROM {source} WHERE {each.where} {where}"
            for each in told
        )

    many = " + ".join(f"CASE WHEN {each.where} THEN 1 ELSE 0 END" for each in told)
    return f"""
    events AS (
        INSERT INTO event (position, id, owner, sequence, previous, state, attempt, time)
        {rows(_POSITION + " + {place}, id, owner", "moved, origin", "")}
    ), deliveries AS (
        INSERT INTO delivery (id, sequence, previous, state, attempt, time)
        {rows("id", "moved", "AND lane IS NOT NULL")}
    ), callbacks AS (
        UPDATE callback c SET open = c.open + m.many, due = coalesce(c.due, m.time), since = coalesce(c.since, m.time)
        FROM (SELECT id, {time} AS time, {many} AS many FROM moved WHERE lane IS NOT NULL) m
        WHERE c.id = m.id AND m.many > 0 RETURNING c.id
    )"""


_RUNG = "(SELECT max(pg_notify('tesk', 'D')::text) FROM (SELECT 1 FROM callbacks LIMIT 1) AS one)"
"""Tell all servers that there is something to send."""

CREATE = f"""
    WITH new AS (
        SELECT * FROM unnest(
            :ids::text[], :owners::text[], :created::double precision[], :cpu_cores::double precision[],
            :ram_bytes::bigint[], :disk_bytes::bigint[], :gpus::integer[], :names::text[], :bodies::bytea[], :extensions::bytea[],
            :packed::bytea[], :lanes::text[], :urls::text[]
        ) WITH ORDINALITY
        AS n(id, owner, created, cpu_cores, ram_bytes, disk_bytes, gpus, name, body, extension, pairs, lane, url, place)
    ), tasks AS (
        INSERT INTO task
            (id, owner, state, created, sequence, attempts, failures, due, cpu_cores, ram_bytes, disk_bytes, gpus, name, lane)
        SELECT id, owner, 'QUEUED', created, 1, 0, 0, 0, cpu_cores, ram_bytes, disk_bytes, gpus, name, lane FROM new
    ), bodies AS (
        INSERT INTO body (id, body, extension, pairs) SELECT id, body, extension, pairs FROM new
    ), tags AS (
        INSERT INTO tag (pair, id) SELECT * FROM unnest(:pairs::bigint[], :tagged::text[])
    ), events AS (
        INSERT INTO event (position, id, owner, sequence, previous, state, attempt, time)
        SELECT {_POSITION} + place, id, owner, 1, NULL, 'QUEUED', 0, created FROM new, origin
    ), callbacks AS (
        INSERT INTO callback (id, lane, url, open, due, since)
        SELECT id, lane, url, 1, created, created FROM new WHERE lane IS NOT NULL RETURNING id
    ), deliveries AS (
        INSERT INTO delivery (id, sequence, previous, state, attempt, time)
        SELECT id, 1, NULL, 'QUEUED', 0, created FROM new WHERE lane IS NOT NULL
    )
    SELECT pg_notify('tesk', 'W'), {_RUNG}
"""

KEYS = """
    INSERT INTO idempotency (owner, key, body_hash, id, created)
    SELECT * FROM unnest(
        :owners::text[], :keys::text[], :hashes::bytea[], :ids::text[], :created::double precision[]
    ) ON CONFLICT (owner, key) DO UPDATE
    SET body_hash = excluded.body_hash, id = excluded.id, created = excluded.created
    WHERE idempotency.created <= excluded.created - :day::double precision RETURNING id
"""
KNOWN_KEYS = """
    SELECT k.owner, k.key, k.body_hash, k.id FROM unnest(:owners::text[], :keys::text[]) a(owner, key)
    JOIN idempotency k ON k.owner = a.owner AND k.key = a.key
"""
OLD_KEYS = """
    DELETE FROM idempotency WHERE (owner, key) IN (
        SELECT owner, key FROM idempotency WHERE created <= :before ORDER BY created LIMIT :limit FOR UPDATE SKIP LOCKED
    )
"""

_CANCEL_TELLS = _telling(
    _Told("2 * ordinal", "sequence - CASE state WHEN 'CANCELED' THEN 1 ELSE 0 END", "previous", "'CANCELING'"),
    _Told("2 * ordinal + 1", "sequence", "'CANCELING'", "state", "state = 'CANCELED'"),
    attempt="attempts",
    time=":time::double precision",
)
# The state is taken from the row as it was locked: the statement's own view of it may be older than a move that it waited for.
CANCEL = f"""
    WITH locked AS (
        SELECT t.id, t.state, a.ordinal FROM unnest(:ids::text[]) WITH ORDINALITY AS a(id, ordinal) JOIN task t ON t.id = a.id
        WHERE (:all::boolean OR t.owner = :owner) AND t.state = ANY(:states::text[]) ORDER BY t.id FOR UPDATE OF t
    ), moved AS (
        UPDATE task t SET
            state = CASE l.state WHEN 'QUEUED' THEN 'CANCELED' ELSE 'CANCELING' END,
            ended = CASE l.state WHEN 'QUEUED' THEN :time::double precision END,
            sequence = t.sequence + CASE l.state WHEN 'QUEUED' THEN 2 ELSE 1 END,
            revision = t.revision + 1
        FROM locked l WHERE t.id = l.id
        RETURNING t.id, t.owner, t.state, t.attempts, t.sequence, t.lane, l.state AS previous, l.ordinal
    ), {_CANCEL_TELLS}, told AS (
        SELECT pg_notify('tesk', payload) FROM unnest(:payloads::text[]) payload WHERE EXISTS (SELECT 1 FROM moved)
    )
    SELECT id, state, (SELECT count(*) FROM told), {_RUNG} FROM moved
"""

_BEGIN_TELLS = _telling(_Told("ordinal", "sequence", "'QUEUED'", "state"), attempt="attempts", time="time")
BEGIN = f"""
    WITH asked AS (
        SELECT * FROM unnest(
            :ids::text[], :leases::bigint[], :places::text[], :times::double precision[], :texts::text[]
        ) WITH ORDINALITY AS a(id, lease, place, time, text, ordinal)
    ), locked AS (
        SELECT a.* FROM asked a JOIN task t ON t.id = a.id
        WHERE t.state = 'QUEUED' AND a.lease IN ({LIVING}) ORDER BY t.id FOR UPDATE OF t
    ), moved AS (
        UPDATE task t SET
            state = 'INITIALIZING', attempts = t.attempts + 1, claim = a.lease, due = 0, sequence = t.sequence + 1,
            revision = t.revision + 1
        FROM locked a WHERE t.id = a.id AND t.state = 'QUEUED'
        RETURNING t.*, a.place, a.time, a.text, a.ordinal
    ), {_BEGIN_TELLS}, attempts AS (
        INSERT INTO attempt (id, number, place, started, start_time, notes)
        SELECT id, attempts, place, time, text, '' FROM moved
    ), told AS (
        SELECT pg_notify('tesk', payload) FROM unnest(:payloads::text[]) payload
    )
    SELECT m.id, m.owner, m.state, m.attempts, m.failures, m.cpu_cores, m.ram_bytes, m.disk_bytes, m.place, m.time,
        b.body, b.extension, NULL, (SELECT count(*) FROM told), {_RUNG}
    FROM moved m JOIN body b ON b.id = m.id
"""

_REFUSE_TELLS = _telling(
    _Told("0", "sequence", "'QUEUED'", "state"), attempt="attempts", time=":time::double precision"
)
REFUSE = f"""
    WITH locked AS (
        SELECT id FROM task WHERE id = :id AND state = 'QUEUED' AND :lease IN ({LIVING}) FOR UPDATE
    ), moved AS (
        UPDATE task t SET
            state = 'SYSTEM_ERROR', ended = :time::double precision, sequence = t.sequence + 1, revision = t.revision + 1
        FROM locked l WHERE t.id = l.id AND t.state = 'QUEUED'
        RETURNING t.id, t.owner, t.state, t.attempts, t.sequence, t.lane
    ), {_REFUSE_TELLS}, noted AS (
        INSERT INTO attempt (id, number, place, notes)
        SELECT id, greatest(attempts, 1), '', :note FROM moved
        ON CONFLICT (id, number) DO UPDATE
        SET notes = attempt.notes || CASE attempt.notes WHEN '' THEN '' ELSE ',' END || excluded.notes
    )
    SELECT pg_notify('tesk', 'C ' || id), {_RUNG} FROM moved
"""

_MOVE_TELLS = _telling(
    _Told(
        "2 * ordinal", "sequence - CASE WHEN via IS NULL THEN 0 ELSE 1 END", "old", "coalesce(via, new)", "new <> old"
    ),
    _Told("2 * ordinal + 1", "sequence", "via", "new", "via IS NOT NULL"),
    attempt="attempt",
    time="time",
)
MOVE = f"""
    WITH asked AS (
        SELECT * FROM unnest(
            :ids::text[], :leases::bigint[], :attempts::integer[], :olds::text[], :vias::text[],
            :news::text[], :times::double precision[], :ends::boolean[], :dues::double precision[], :failures::integer[],
            :notes::text[], :metadata::bytea[], :start_times::text[], :end_times::text[], :outputs::bytea[],
            :bodies::bytea[], :executors::integer[]
        ) WITH ORDINALITY AS a(
            id, lease, attempt, old, via, new, time, ends, due, failures,
            notes, metadata, start_time, end_time, outputs, body, executors, ordinal
        )
    ), locked AS (
        SELECT a.* FROM asked a JOIN task t ON t.id = a.id
        WHERE t.state = a.old AND t.attempts = a.attempt AND t.claim = a.lease AND a.lease IN ({LIVING})
        ORDER BY t.id FOR UPDATE OF t
    ), moved AS (
        UPDATE task t SET
            state = a.new,
            sequence = t.sequence + CASE WHEN a.via IS NOT NULL THEN 2 WHEN a.new = a.old THEN 0 ELSE 1 END,
            revision = t.revision + 1,
            ended = CASE WHEN a.ends THEN a.time END,
            claim = CASE WHEN a.ends OR a.new = 'QUEUED' THEN NULL ELSE t.claim END,
            due = CASE WHEN a.new = 'QUEUED' THEN a.due ELSE t.due END,
            failures = t.failures + a.failures
        FROM locked a WHERE t.id = a.id AND t.state = a.old AND t.attempts = a.attempt AND t.claim = a.lease
        RETURNING a.*, t.owner, t.sequence, t.lane
    ), {_MOVE_TELLS}, logged AS (
        UPDATE attempt t SET
            metadata = coalesce(m.metadata, t.metadata),
            start_time = coalesce(m.start_time, t.start_time),
            end_time = coalesce(m.end_time, t.end_time),
            outputs = coalesce(m.outputs, t.outputs),
            notes = t.notes || CASE WHEN t.notes = '' OR m.notes = '' THEN '' ELSE ',' END || m.notes
        FROM moved m WHERE t.id = m.id AND t.number = m.attempt
    ), dropped AS (
        DELETE FROM executor_log x USING moved m WHERE x.id = m.id AND x.number = m.attempt AND x.executor >= m.executors
    ), executed AS (
        INSERT INTO executor_log (id, number, executor, log, stdout, stderr)
        SELECT x.id, m.attempt, x.executor, x.log, x.stdout, x.stderr
        FROM unnest(:log_ids::text[], :log_executors::integer[], :logs::bytea[], :stdouts::bytea[], :stderrs::bytea[])
            x(id, executor, log, stdout, stderr)
        JOIN moved m ON m.id = x.id
        ON CONFLICT (id, number, executor) DO UPDATE
        SET log = excluded.log, stdout = excluded.stdout, stderr = excluded.stderr
    ), retyped AS (
        UPDATE body t SET body = m.body FROM moved m WHERE t.id = m.id AND m.body IS NOT NULL
    ), told AS (
        SELECT pg_notify('tesk', payload) FROM unnest(:payloads::text[]) payload
    )
    SELECT id, (SELECT count(*) FROM told), {_RUNG} FROM moved
"""

ACQUIRE = f"""
    WITH forgotten AS (
        DELETE FROM lease l WHERE expires < {_NOW} - 86400 AND NOT EXISTS (SELECT 1 FROM task t WHERE t.claim = l.id)
    ), ended AS (
        UPDATE lease SET expires = {_NOW} WHERE :alone::boolean AND place = :place AND place <> '' AND expires > {_NOW}
    )
    INSERT INTO lease (place, name, expires, cpu_cores, ram_bytes, disk_bytes, gpus)
    VALUES (:place, :name, {_NOW} + :seconds::double precision, :cpu_cores, :ram_bytes, :disk_bytes, :gpus)
    RETURNING id, expires
"""
OTHERS = f"""
    SELECT cpu_cores, ram_bytes, disk_bytes, coalesce(gpus, 0) FROM lease
    WHERE place <> :place AND expires > {_NOW} - :seconds::double precision
"""
RENEW = f"""
    UPDATE lease SET expires = {_NOW} + :seconds::double precision WHERE id = :id AND expires > {_NOW} RETURNING expires
"""
RELEASE = f"""
    WITH ended AS (UPDATE lease SET expires = least(expires, {_NOW}) WHERE id = :id)
    SELECT pg_notify('tesk', 'W')
"""
ALIVE = f"SELECT id FROM lease WHERE id = ANY(:ids::bigint[]) AND expires > {_NOW}"

ADOPT = f"""
    UPDATE task SET claim = :lease WHERE id = :id AND claim IS NOT NULL AND claim NOT IN ({LIVING})
    AND :lease IN ({LIVING}) RETURNING id
"""
