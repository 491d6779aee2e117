-- Days of which readings gave way to their hours, at this node or at one below.
CREATE TABLE thinned_day (
    origin {{TEXT}} NOT NULL,
    -- Civil day of `event_at` in Beijing, `2026-11-30`.
    day {{TEXT}} NOT NULL,
    -- The node at which they gave way.
    holder {{TEXT}} NOT NULL,
    -- Readings that gave way, and the sum of their hashes modulo 2^128, 32 hexadecimal digits.
    n_readings {{BIGINT}} NOT NULL,
    sum {{TEXT}} NOT NULL,
    -- What the ledger said of the whole day then; NULL = there was none.
    held_n_readings {{BIGINT}},
    held_sum {{TEXT}},
    -- Hours that stand for them, and the sum of their hashes.
    n_hours {{BIGINT}} NOT NULL,
    hours_sum {{TEXT}} NOT NULL,
    -- disk, age.
    why {{TEXT}} NOT NULL,
    at_us {{BIGINT}} NOT NULL,
    PRIMARY KEY (origin, day, holder)
);
CREATE INDEX thinned_day_newest ON thinned_day (day, origin, holder);

-- What is about to give way, until it is known whether it did.
CREATE TABLE thinning (
    id {{BIGINT}} PRIMARY KEY,
    -- JSON.
    body {{TEXT}} NOT NULL
);

-- Days of which the parent was last found to hold exactly this.
CREATE TABLE told_day (
    origin {{TEXT}} NOT NULL,
    day {{TEXT}} NOT NULL,
    n_readings {{BIGINT}} NOT NULL,
    sum {{TEXT}} NOT NULL,
    PRIMARY KEY (origin, day)
);

-- Which readings a comparison was of, as agreed; NULL = all.
ALTER TABLE proof ADD COLUMN readings {{TEXT}};

-- Digest of what is agreed of a day, read when the ledger said this of the whole day.
CREATE TABLE agreed_day (
    origin {{TEXT}} NOT NULL,
    day {{TEXT}} NOT NULL,
    -- changes, minutes.
    readings {{TEXT}} NOT NULL,
    of_n_readings {{BIGINT}} NOT NULL,
    of_sum {{TEXT}} NOT NULL,
    n_readings {{BIGINT}} NOT NULL,
    sum {{TEXT}} NOT NULL,
    PRIMARY KEY (origin, day, readings)
);
