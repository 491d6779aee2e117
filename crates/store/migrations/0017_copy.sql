-- Where the home of a record is another node; NULL = here. What stands here then is a read-only copy, as it was last told.
ALTER TABLE record ADD COLUMN home {{TEXT}};
-- Of a copy: the id at its home of the record above, known here or not, and when it was told.
ALTER TABLE record ADD COLUMN above {{BIGINT}};
ALTER TABLE record ADD COLUMN told_at_us {{BIGINT}};
CREATE INDEX record_above ON record (above);
-- `kind` of mirror is also `record`.
-- The release before refused what it was told of records: it is told again, with all the rest, which changes nothing.
UPDATE link_inbox SET feed = 0;
