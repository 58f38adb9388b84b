-- Text is compared byte by byte everywhere: ids sort by age, names by prefix.

-- The narrow row that every list and every move reads. `sequence` is the number of the task's last event.
CREATE TABLE task (
    id text COLLATE "C" PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    created double precision NOT NULL,
    ended double precision,
    sequence integer NOT NULL,
    attempts integer NOT NULL,
    failures integer NOT NULL,
    due double precision NOT NULL,
    claim bigint,
    cpu_cores double precision NOT NULL,
    ram_bytes bigint NOT NULL,
    disk_bytes bigint NOT NULL,
    name text COLLATE "C" NOT NULL
);
CREATE INDEX task_by_state ON task (state, id);
CREATE INDEX task_by_owner ON task (owner, id);
CREATE INDEX task_by_claim ON task (claim) WHERE claim IS NOT NULL;
CREATE INDEX task_by_due ON task (due) WHERE due > 0;

-- Canonical JSON as it is spliced into answers. `pairs` are the task's rows in `tag`, eight bytes each.
CREATE TABLE body (
    id text COLLATE "C" PRIMARY KEY,
    body bytea NOT NULL,
    extension bytea,
    pairs bytea NOT NULL
);

-- `pair` is a hash of (owner or everybody, key, value or any).
CREATE TABLE tag (
    pair bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    PRIMARY KEY (pair, id)
);

-- One TaskLog. `notes` are JSON strings with commas between; `metadata` and `outputs` are JSON.
CREATE TABLE attempt (
    id text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    place text NOT NULL,
    started double precision,
    start_time text,
    end_time text,
    metadata bytea,
    outputs bytea,
    notes text NOT NULL,
    PRIMARY KEY (id, number)
);

CREATE TABLE executor_log (
    id text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    executor integer NOT NULL,
    log bytea NOT NULL,
    stdout bytea,
    stderr bytea,
    PRIMARY KEY (id, number, executor)
);

-- `position` is the transaction's number, shifted by `origin` and times 65,536, plus a place within the transaction:
-- events below the oldest transaction that still runs are final, and no sequence can hand out numbers in another order.
CREATE TABLE event (
    position bigint PRIMARY KEY,
    id text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    sequence integer NOT NULL,
    previous text COLLATE "C",
    state text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    time double precision NOT NULL
);
CREATE UNIQUE INDEX event_by_task ON event (id, sequence);
CREATE INDEX event_by_owner ON event (owner, position);

-- One row. What is added to transaction numbers, so that they go on counting up where a dump was restored in a younger cluster.
CREATE TABLE origin (shift bigint NOT NULL);
INSERT INTO origin VALUES (0);

-- Times by this database's clock, seconds since the epoch.
CREATE TABLE lease (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    place text NOT NULL,
    name text NOT NULL,
    expires double precision NOT NULL
);

CREATE TABLE idempotency (
    owner text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    body_hash bytea NOT NULL,
    id text COLLATE "C" NOT NULL,
    created double precision NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created);
