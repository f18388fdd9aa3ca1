-- The local directory below the recipient's in which a file of the outbox lies; NULL directly below the
-- recipient. NULL does not count in a row's checksum, so rows that are there keep theirs.

ALTER TABLE outbox ADD COLUMN directory TEXT;
