-- Messages of ours that were taken out of the registry again; a sent one that is not here is there.

CREATE TABLE withdrawn (
    digest TEXT PRIMARY KEY,
    why    TEXT    NOT NULL CHECK (why IN ('recalled', 'expired')),
    at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
