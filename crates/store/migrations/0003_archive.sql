-- Where a point or vehicle belonged from a day on, and what it was called: the archive files a day under the region code of that day,
-- also when something of it comes years later. One row per change; the first reaches back to the beginning (from_day 0001-01-01).
CREATE TABLE archive_subject (
    kind {{TEXT}} NOT NULL,
    subject_id {{BIGINT}} NOT NULL,
    from_day {{BIGINT}} NOT NULL,
    region {{TEXT}} NOT NULL,
    labels {{TEXT}} NOT NULL,
    PRIMARY KEY (kind, subject_id, from_day)
);
