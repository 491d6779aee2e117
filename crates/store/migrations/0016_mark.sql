-- What a row is known by where its id has come to be another's, since its node was set back to a backup: 128 random bits, made with it.
ALTER TABLE enterprise ADD COLUMN mark {{TEXT}};
UPDATE enterprise SET mark = {{RANDOM}} WHERE home IS NULL;
-- The mark that it bears at home; NULL = not told yet.
ALTER TABLE mirror ADD COLUMN mark {{TEXT}};
CREATE INDEX mirror_mark ON mirror (node, kind, mark);
