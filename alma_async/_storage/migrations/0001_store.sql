-- The store itself: the secret that its records are sealed with, and the clock that all of it goes by.
CREATE TABLE alma_async.secret (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    secret bytea NOT NULL
);
INSERT INTO alma_async.secret (secret) VALUES (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

-- Seconds since 1970 when this is called, not when the transaction began.
CREATE FUNCTION alma_async.clock() RETURNS double precision
    LANGUAGE sql VOLATILE
    AS 'SELECT extract(epoch FROM clock_timestamp())::double precision';
