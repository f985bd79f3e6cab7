-- The job ledger: the rows of each institution by its name, which is a digest.
CREATE TABLE alma_async.run (
    institution text NOT NULL, key text NOT NULL, job_id text NOT NULL, name text NOT NULL, state text NOT NULL,
    instance_id text, ours integer NOT NULL, by_api integer NOT NULL, reserved_at double precision NOT NULL,
    latest_start double precision NOT NULL, poll_at double precision NOT NULL, usual double precision NOT NULL,
    parameters text NOT NULL, reported integer NOT NULL, shown double precision, seal bytea NOT NULL,
    PRIMARY KEY (institution, key)
);
CREATE INDEX run_recent ON alma_async.run (institution, latest_start);
CREATE INDEX run_open ON alma_async.run (institution) WHERE state IN ('reserved', 'running', 'unknown');
CREATE TABLE alma_async.waiter (
    institution text NOT NULL, key text NOT NULL, job_id text NOT NULL, since double precision NOT NULL,
    until double precision NOT NULL, watches integer NOT NULL, seal bytea NOT NULL,
    PRIMARY KEY (institution, key)
);
CREATE TABLE alma_async.block (
    institution text NOT NULL, job_id text NOT NULL, until double precision NOT NULL, why text NOT NULL, seal bytea NOT NULL,
    PRIMARY KEY (institution, job_id)
);
-- "client" is the database's clock here: see _guard/server_clock.py.
CREATE TABLE alma_async.serverclock (
    institution text NOT NULL, key text NOT NULL, boot text NOT NULL, client double precision NOT NULL,
    wall double precision NOT NULL, at double precision NOT NULL, error double precision NOT NULL,
    "offset" double precision NOT NULL, seal bytea NOT NULL,
    PRIMARY KEY (institution, key)
);
CREATE TABLE alma_async.polls (
    institution text NOT NULL, key text NOT NULL, hour double precision NOT NULL, day double precision NOT NULL,
    at double precision NOT NULL, seal bytea NOT NULL,
    PRIMARY KEY (institution, key)
);
-- Counts what other processes may be waiting for.
CREATE TABLE alma_async.news (institution text PRIMARY KEY, count bigint NOT NULL);
