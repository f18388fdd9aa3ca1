-- What was found out about messages of ours that no receipt has confirmed yet, by digest: a message
-- without a row is thought to be where it was put. The count of puts back is never lowered by time.

CREATE TABLE presence (
    digest         TEXT    PRIMARY KEY,
    standing       TEXT    NOT NULL
                   CHECK (standing IN ('watched', 'refused', 'given-up', 'lost', 'resent', 'over')),
    finding        TEXT    CHECK (finding IN ('untagged', 'gone')), -- of the last look, if it was bad
    put_back_count INTEGER NOT NULL CHECK (put_back_count BETWEEN 0 AND 3),
    told_count     INTEGER NOT NULL CHECK (told_count >= 0), -- puts back that `errors` speaks of
    at             INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
