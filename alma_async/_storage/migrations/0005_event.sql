-- Received webhooks. The primary key is what keeps a repeat from being handed on twice.
CREATE TABLE alma_async.event (
    institution text NOT NULL, id text NOT NULL, action text NOT NULL, at timestamptz NOT NULL,
    body bytea NOT NULL,
    received timestamptz NOT NULL DEFAULT clock_timestamp(),
    handled timestamptz, -- when it was handed on; NULL: it was only stored
    PRIMARY KEY (institution, id, action, at)
);
CREATE INDEX event_received ON alma_async.event (received);
