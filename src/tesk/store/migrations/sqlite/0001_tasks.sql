-- The narrow row that every list and every move reads. `sequence` is the number of the task's last event.
CREATE TABLE task (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    created REAL NOT NULL,
    ended REAL,
    sequence INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    due REAL NOT NULL,
    claim INTEGER,
    cpu_cores REAL NOT NULL,
    ram_bytes INTEGER NOT NULL,
    disk_bytes INTEGER NOT NULL,
    name TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX task_by_state ON task (state, id);
CREATE INDEX task_by_owner ON task (owner, id);
CREATE INDEX task_by_claim ON task (claim) WHERE claim IS NOT NULL;
CREATE INDEX task_by_due ON task (due) WHERE due > 0;

-- Canonical JSON as it is spliced into answers. `pairs` are the task's rows in `tag`, eight bytes each.
-- A table with rowids: there a body fills its page, where one without would spill it.
CREATE TABLE body (
    id TEXT PRIMARY KEY,
    body BLOB NOT NULL,
    extension BLOB,
    pairs BLOB NOT NULL
);

-- `pair` is a hash of (owner or everybody, key, value or any).
CREATE TABLE tag (
    pair INTEGER NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (pair, id)
) WITHOUT ROWID;

-- One TaskLog. `notes` are JSON strings with commas between; `metadata` and `outputs` are JSON.
CREATE TABLE attempt (
    id TEXT NOT NULL,
    number INTEGER NOT NULL,
    place TEXT NOT NULL,
    started REAL,
    start_time TEXT,
    end_time TEXT,
    metadata BLOB,
    outputs BLOB,
    notes TEXT NOT NULL,
    PRIMARY KEY (id, number)
) WITHOUT ROWID;

-- `log` first, so that a view without streams does not read past it.
CREATE TABLE executor_log (
    id TEXT NOT NULL,
    number INTEGER NOT NULL,
    executor INTEGER NOT NULL,
    log BLOB NOT NULL,
    stdout BLOB,
    stderr BLOB,
    PRIMARY KEY (id, number, executor)
);

-- AUTOINCREMENT: a position is never used again, also when the newest events have been pruned.
CREATE TABLE event (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    previous TEXT,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    time REAL NOT NULL
);
CREATE UNIQUE INDEX event_by_task ON event (id, sequence);
CREATE INDEX event_by_owner ON event (owner, position);

-- `ended` is null while the server that took the lease may hold it.
CREATE TABLE lease (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    place TEXT NOT NULL,
    name TEXT NOT NULL,
    ended REAL
);

CREATE TABLE idempotency (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    body_hash BLOB NOT NULL,
    id TEXT NOT NULL,
    created REAL NOT NULL,
    PRIMARY KEY (owner, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created);
