-- A plan's evaluation as it was reckoned when its notice was published: what the public reads, whatever is recorded later.
CREATE TABLE published_evaluation (
    -- The notice; another one that publishes the same plan and day has its own.
    record_id {{BIGINT}} PRIMARY KEY,
    -- NULL = of a notice of before this table: reckoned at the next start.
    reckoned_at_us {{BIGINT}},
    -- JSON, versioned; see `app::public::Evaluation`.
    document {{TEXT}}
);
INSERT INTO published_evaluation (record_id)
SELECT r.id FROM record AS r WHERE r.kind = 'notice' AND r.home IS NULL AND r.state IN ('published', 'archived');

-- Identifiers of messages of CAP, given out once each.
CREATE TABLE cap_identifier (
    identifier {{TEXT}} PRIMARY KEY,
    record_id {{BIGINT}} NOT NULL,
    -- The act that the message tells: issue, cancel.
    step {{TEXT}} NOT NULL
);
CREATE UNIQUE INDEX cap_identifier_record ON cap_identifier (record_id, step);
