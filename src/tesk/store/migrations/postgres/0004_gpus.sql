-- How many GPUs a task asks for, and the server of a lease has.
ALTER TABLE task ADD COLUMN gpus integer NOT NULL DEFAULT 0;
ALTER TABLE lease ADD COLUMN gpus integer;
