-- The first schema. Digests and times are readable on purpose: digests as `sha256:<hex>`, times as
-- Unix seconds. Large values stand last in a row, so that reading the others stays cheap.

CREATE TABLE outbox (
    id            INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: logs and handles name it
    recipient     TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('draft', 'prepared', 'sent', 'failed', 'abandoned')),
    spool         TEXT    NOT NULL,
    len           INTEGER NOT NULL CHECK (len >= 0),
    mtime         INTEGER NOT NULL,
    mode          INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    hidden        INTEGER NOT NULL CHECK (hidden IN (0, 1)),
    receipt       TEXT,
    error_code    TEXT,
    error_text    TEXT,
    digest        TEXT,
    message_id    TEXT,
    session       TEXT,
    tag           TEXT,
    bundle_digest TEXT, -- notices a damaged bundle before it is sent
    manifest      BLOB,
    bundle        BLOB,
    CHECK ((digest IS NULL) = (manifest IS NULL)),
    CHECK ((error_code IS NULL) = (error_text IS NULL))
) STRICT;
CREATE INDEX outbox_digest ON outbox (digest) WHERE digest IS NOT NULL;

CREATE TABLE recipients (
    identity TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Rows are never deleted: they are how a dismissed message stays dismissed and a name stays taken.
CREATE TABLE inbox (
    id          INTEGER PRIMARY KEY, -- order of arrival
    digest      TEXT    NOT NULL UNIQUE,
    message_id  TEXT    NOT NULL,
    sender      TEXT    NOT NULL,
    recipient   TEXT    NOT NULL,
    file_name   TEXT    NOT NULL,
    number      INTEGER NOT NULL CHECK (number >= 1), -- of the listed name: `report (2).pdf`
    listed_name TEXT    NOT NULL,
    signer      TEXT    NOT NULL,
    tag         TEXT    NOT NULL,
    arrived_at  INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    dismissed   INTEGER NOT NULL CHECK (dismissed IN (0, 1)),
    receipt     TEXT,
    chunk_count INTEGER NOT NULL CHECK (chunk_count >= 0),
    verified    BLOB    NOT NULL, -- one bit a chunk, the lowest bit first
    manifest    BLOB    NOT NULL,
    UNIQUE (sender, listed_name),
    UNIQUE (sender, message_id)
) STRICT;
CREATE INDEX inbox_number ON inbox (sender, file_name, number);

CREATE TABLE seen (
    id      INTEGER PRIMARY KEY,
    tag     TEXT NOT NULL UNIQUE,
    digest  TEXT NOT NULL,
    verdict TEXT NOT NULL
) STRICT;

CREATE TABLE quarantine (
    id             INTEGER PRIMARY KEY,
    digest         TEXT    NOT NULL UNIQUE,
    tag            TEXT    NOT NULL,
    claimed_sender TEXT    NOT NULL,
    file_name      TEXT    NOT NULL,
    code           TEXT    NOT NULL,
    why            TEXT    NOT NULL,
    pending        INTEGER NOT NULL CHECK (pending IN (0, 1)),
    first_seen     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE receipts (
    id              INTEGER PRIMARY KEY,
    manifest_digest TEXT,
    message         TEXT    NOT NULL,
    direction       TEXT    NOT NULL CHECK (direction IN ('issued', 'received')),
    peer            TEXT    NOT NULL,
    file_name       TEXT    NOT NULL,
    status          TEXT    NOT NULL,
    verified        INTEGER NOT NULL CHECK (verified IN (0, 1)),
    signed          INTEGER NOT NULL CHECK (signed IN (0, 1)),
    reason          TEXT,
    created_at      INTEGER NOT NULL,
    json            TEXT    NOT NULL,
    CHECK (direction = 'issued' OR manifest_digest IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX receipts_issued ON receipts (message, status) WHERE direction = 'issued';
CREATE UNIQUE INDEX receipts_received ON receipts (manifest_digest) WHERE direction = 'received';
CREATE INDEX receipts_message ON receipts (message);

CREATE TABLE receipt_queue (
    id         INTEGER PRIMARY KEY,
    message    TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    verified   INTEGER NOT NULL CHECK (verified IN (0, 1)),
    reason     TEXT,
    created_at INTEGER NOT NULL,
    attempts   INTEGER NOT NULL CHECK (attempts >= 0),
    next_at    INTEGER NOT NULL,
    UNIQUE (message, status)
) STRICT;

CREATE TABLE errors (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    code    TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    text    TEXT    NOT NULL,
    hint    TEXT
) STRICT;

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
