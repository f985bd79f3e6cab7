-- Journals of loads: who owns each, and the records of all, each with its load first. The number of each table's records is kept
-- beside the owner, so that one that is gone is missed; the records end in a seal.
CREATE TABLE alma_async.load (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    -- into which service it loads, while it may send something: two loads of one service are kept apart
    origin text,
    collection text,
    service text,
    -- who may write: every write proves the epoch; who has not been seen for a lease may be taken over
    epoch bigint NOT NULL DEFAULT 0,
    owner text,
    seen double precision NOT NULL DEFAULT alma_async.clock(),
    commits bigint NOT NULL DEFAULT 0,
    made double precision NOT NULL DEFAULT alma_async.clock(),
    meta bigint NOT NULL DEFAULT 0,
    entry bigint NOT NULL DEFAULT 0,
    asked bigint NOT NULL DEFAULT 0,
    before_image bigint NOT NULL DEFAULT 0,
    sent bigint NOT NULL DEFAULT 0,
    existing bigint NOT NULL DEFAULT 0,
    identifier bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE INDEX load_service ON alma_async.load (origin, collection, service) WHERE origin IS NOT NULL;

CREATE TABLE alma_async.meta (
    load bigint NOT NULL REFERENCES alma_async.load ON DELETE CASCADE,
    name text NOT NULL, value text NOT NULL, seal bytea NOT NULL,
    PRIMARY KEY (load, name)
);
CREATE TABLE alma_async.entry (
    load bigint NOT NULL REFERENCES alma_async.load ON DELETE CASCADE,
    n bigint NOT NULL, line bigint NOT NULL, state text NOT NULL, step text NOT NULL, may_resend bigint NOT NULL, mms_id text,
    natural_key bytea, payload bytea, portfolio_id text, key text, action text, lost_answers bigint NOT NULL, code text,
    reason text, message text, tracking_id text, differences bytea, "left" bytea, availability text, source bytea,
    wall double precision, mono double precision, boot text, seal bytea NOT NULL,
    PRIMARY KEY (load, n)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX entry_natural_key ON alma_async.entry (load, natural_key) WHERE natural_key IS NOT NULL;
CREATE INDEX entry_open ON alma_async.entry (load, n) WHERE state IN ('pending', 'intent', 'unknown');
CREATE INDEX entry_title ON alma_async.entry (load, mms_id) WHERE mms_id IS NOT NULL;
CREATE INDEX entry_key ON alma_async.entry (load, key) WHERE key IS NOT NULL;
CREATE INDEX entry_portfolio ON alma_async.entry (load, portfolio_id) WHERE portfolio_id IS NOT NULL;
CREATE TABLE alma_async.asked (
    load bigint NOT NULL REFERENCES alma_async.load ON DELETE CASCADE,
    n bigint NOT NULL, body bytea NOT NULL, seal bytea NOT NULL,
    PRIMARY KEY (load, n)
);
CREATE TABLE alma_async.before_image (
    load bigint NOT NULL REFERENCES alma_async.load ON DELETE CASCADE,
    n bigint NOT NULL, body bytea NOT NULL, seal bytea NOT NULL,
    PRIMARY KEY (load, n)
);
CREATE TABLE alma_async.sent (
    load bigint NOT NULL REFERENCES alma_async.load ON DELETE CASCADE,
    n bigint NOT NULL, body bytea NOT NULL, seal bytea NOT NULL,
    PRIMARY KEY (load, n)
);
CREATE TABLE alma_async.existing (
    load bigint NOT NULL REFERENCES alma_async.load ON DELETE CASCADE,
    portfolio_id text NOT NULL, mms_id text, availability text, title text, seal bytea NOT NULL,
    PRIMARY KEY (load, portfolio_id)
);
CREATE INDEX existing_mms ON alma_async.existing (load, mms_id);
CREATE TABLE alma_async.identifier (
    load bigint NOT NULL REFERENCES alma_async.load ON DELETE CASCADE,
    pair text NOT NULL COLLATE "C", value text NOT NULL, portfolio_id text NOT NULL, mms_id text NOT NULL, url text,
    suggested bigint NOT NULL, seal bytea NOT NULL,
    PRIMARY KEY (load, pair)
);
CREATE INDEX identifier_value ON alma_async.identifier (load, value);
CREATE INDEX identifier_portfolio ON alma_async.identifier (load, portfolio_id);

CREATE FUNCTION alma_async.count_records() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'UPDATE alma_async.load SET %1$I = load.%1$I %2$s counted.n '
        'FROM (SELECT load, count(*) AS n FROM changed GROUP BY load) counted WHERE load.id = counted.load',
        TG_TABLE_NAME, CASE TG_OP WHEN 'INSERT' THEN '+' ELSE '-' END
    );
    RETURN NULL;
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['meta', 'entry', 'asked', 'before_image', 'sent', 'existing', 'identifier'] LOOP
        EXECUTE format(
            'CREATE TRIGGER added AFTER INSERT ON alma_async.%I REFERENCING NEW TABLE AS changed '
            'FOR EACH STATEMENT EXECUTE FUNCTION alma_async.count_records()', name
        );
        EXECUTE format(
            'CREATE TRIGGER removed AFTER DELETE ON alma_async.%I REFERENCING OLD TABLE AS changed '
            'FOR EACH STATEMENT EXECUTE FUNCTION alma_async.count_records()', name
        );
    END LOOP;
END $$;
