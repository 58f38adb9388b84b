-- How much the server of a lease can hold in all; null: there is no such number, so whatever comes.
ALTER TABLE lease ADD COLUMN cpu_cores double precision;
ALTER TABLE lease ADD COLUMN ram_bytes bigint;
ALTER TABLE lease ADD COLUMN disk_bytes bigint;
