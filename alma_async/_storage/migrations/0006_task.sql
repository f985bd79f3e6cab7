-- What follows the end of a job: the task that was named when it was submitted, queued once.
CREATE TABLE alma_async.continuation (
    institution text NOT NULL,
    key text NOT NULL,
    instance_id text NOT NULL,
    task text,
    arguments jsonb NOT NULL,
    ended jsonb,
    PRIMARY KEY (institution, key)
);
CREATE INDEX continuation_instance ON alma_async.continuation (institution, instance_id) WHERE ended IS NULL;

-- The title that a message is about, while what it asks is under way: of two messages on one title, one waits.
CREATE TABLE alma_async.claim (
    institution text NOT NULL,
    what text NOT NULL,
    key text NOT NULL,
    at double precision NOT NULL DEFAULT alma_async.clock(),
    PRIMARY KEY (institution, what)
);
