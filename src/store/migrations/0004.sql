-- A checksum of each row of the outbox, by which a bit that flipped on the disk is noticed before it
-- becomes another name or another recipient. The program computes it (`checksum.rs`), here for all rows.

ALTER TABLE outbox ADD COLUMN checksum TEXT;
