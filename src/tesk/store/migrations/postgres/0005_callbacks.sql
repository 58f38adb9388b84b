-- `lane` is where a task's moves are told (null: nowhere, or no more): the origin of its callback's URL, a space, the owner.
ALTER TABLE task ADD COLUMN lane text COLLATE "C";

-- One for each task with a callback. `open` deliveries wait, the first of which may be sent from `due` on (null: none waits);
-- `since` then none was delivered. `claim` is the lease of who sends them now.
CREATE TABLE callback (
    id text COLLATE "C" PRIMARY KEY,
    lane text COLLATE "C" NOT NULL,
    url text NOT NULL,
    open integer NOT NULL,
    due double precision,
    since double precision,
    claim bigint,
    ended boolean NOT NULL DEFAULT false
);
CREATE INDEX callback_by_lane ON callback (lane, due) WHERE due IS NOT NULL;

-- One for each event of such a task, from the transaction that made the event on. What an event says stands here again: the
-- event may be pruned before it was heard.
CREATE TABLE delivery (
    id text COLLATE "C" NOT NULL,
    sequence integer NOT NULL,
    previous text COLLATE "C",
    state text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    time double precision NOT NULL,
    status text COLLATE "C" NOT NULL DEFAULT 'pending',
    tries integer NOT NULL DEFAULT 0,
    tried double precision,
    latency double precision,
    code integer,
    answer text,
    error text,
    PRIMARY KEY (id, sequence)
);
CREATE INDEX delivery_failed ON delivery (id, sequence) WHERE status = 'failed';
