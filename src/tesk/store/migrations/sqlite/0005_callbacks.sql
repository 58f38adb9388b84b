-- `lane` is where a task's moves are told (null: nowhere, or no more): the origin of its callback's URL, a space, the owner.
ALTER TABLE task ADD COLUMN lane TEXT;

-- One for each task with a callback. `open` deliveries wait, the first of which may be sent from `due` on (null: none waits);
-- `since` then none was delivered.
CREATE TABLE callback (
    id TEXT PRIMARY KEY,
    lane TEXT NOT NULL,
    url TEXT NOT NULL,
    open INTEGER NOT NULL,
    due REAL,
    since REAL,
    ended INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX callback_by_lane ON callback (lane, due) WHERE due IS NOT NULL;

-- One for each event of such a task, from the transaction that made the event on. What an event says stands here again: the
-- event may be pruned before it was heard.
CREATE TABLE delivery (
    id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    previous TEXT,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    time REAL NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    tries INTEGER NOT NULL DEFAULT 0,
    tried REAL,
    latency REAL,
    code INTEGER,
    answer TEXT,
    error TEXT,
    PRIMARY KEY (id, sequence)
) WITHOUT ROWID;
CREATE INDEX delivery_failed ON delivery (id, sequence) WHERE status = 'failed';
