-- Raised by every write that changes what a view shows of the task, in the same transaction: what was rendered of a
-- revision stays right.
ALTER TABLE task ADD COLUMN revision bigint NOT NULL DEFAULT 1;
