-- Queued delivery: the state `queued`, a position in the queue, and whether a failure happened with
-- no program waiting. SQLite cannot change a CHECK, so the table is rebuilt; its ids continue where
-- they were, because an id is never used twice.

CREATE TABLE outbox_new (
    id            INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: logs and handles name it
    recipient     TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    state         TEXT    NOT NULL
                  CHECK (state IN ('draft', 'queued', 'prepared', 'sent', 'failed', 'abandoned')),
    spool         TEXT    NOT NULL,
    len           INTEGER NOT NULL CHECK (len >= 0),
    mtime         INTEGER NOT NULL,
    mode          INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    hidden        INTEGER NOT NULL CHECK (hidden IN (0, 1)),
    queue_place   INTEGER, -- smaller ones are sent first
    unattended    INTEGER NOT NULL DEFAULT 0 CHECK (unattended IN (0, 1)),
    receipt       TEXT,
    error_code    TEXT,
    error_text    TEXT,
    digest        TEXT,
    message_id    TEXT, -- fixed when the file is queued, before there is a manifest
    session       TEXT,
    tag           TEXT,
    bundle_digest TEXT, -- notices a damaged bundle before it is sent
    manifest      BLOB,
    bundle        BLOB,
    CHECK ((digest IS NULL) = (manifest IS NULL)),
    CHECK ((error_code IS NULL) = (error_text IS NULL))
) STRICT;

INSERT INTO sqlite_sequence (name, seq)
    SELECT 'outbox_new', seq FROM sqlite_sequence WHERE name = 'outbox';
INSERT INTO outbox_new (id, recipient, name, state, spool, len, mtime, mode, created_at, updated_at,
                        hidden, receipt, error_code, error_text, digest, message_id, session, tag,
                        bundle_digest, manifest, bundle)
    SELECT id, recipient, name, state, spool, len, mtime, mode, created_at, updated_at,
           hidden, receipt, error_code, error_text, digest, message_id, session, tag,
           bundle_digest, manifest, bundle
    FROM outbox;
DROP TABLE outbox;
ALTER TABLE outbox_new RENAME TO outbox;

CREATE INDEX outbox_digest ON outbox (digest) WHERE digest IS NOT NULL;
CREATE INDEX outbox_queue ON outbox (queue_place) WHERE queue_place IS NOT NULL;
