-- Submissions (报送): what goes to platforms that are no nodes of the network.
CREATE TABLE submission_target (
    -- As in the configuration.
    name {{TEXT}} PRIMARY KEY,
    enabled {{BIGINT}} NOT NULL,
    -- The submission that it was filled for: its word, version, and hash of its text.
    submission {{TEXT}} NOT NULL,
    version {{TEXT}} NOT NULL,
    hash {{TEXT}} NOT NULL,
    -- JSON: objects, and what each is made of.
    wants {{TEXT}} NOT NULL,
    -- Files written.
    seq {{BIGINT}} NOT NULL DEFAULT 0,
    -- Attempts that failed one after the other, since when, the last reason (JSON), and until when nothing is tried.
    n_failures {{BIGINT}} NOT NULL DEFAULT 0,
    failing_since_us {{BIGINT}},
    reason {{TEXT}},
    next_at_us {{BIGINT}} NOT NULL DEFAULT 0,
    -- When something was last taken there.
    taken_at_us {{BIGINT}},
    changed_by {{TEXT}} NOT NULL,
    changed_at_us {{BIGINT}} NOT NULL
);

-- Newest state of each subject once, for each target.
CREATE TABLE submission_item (
    target {{TEXT}} NOT NULL,
    object {{TEXT}} NOT NULL,
    subject {{TEXT}} NOT NULL,
    -- Counts changes: what was read at one revision says nothing of the next.
    revision {{BIGINT}} NOT NULL,
    -- waiting, sent, aside (never again without a person or a change), unwanted, gone.
    state {{TEXT}} NOT NULL,
    -- Since when it waits; 0 = nobody has looked yet.
    since_us {{BIGINT}} NOT NULL DEFAULT 0,
    next_at_us {{BIGINT}} NOT NULL DEFAULT 0,
    n_tries {{BIGINT}} NOT NULL DEFAULT 0,
    failed_since_us {{BIGINT}},
    -- 1: goes alone, after others with it were refused.
    alone {{BIGINT}} NOT NULL DEFAULT 0,
    -- JSON: why it is aside or failed.
    reason {{TEXT}},
    -- SHA-256 of what was last taken, and when.
    digest {{TEXT}},
    sent_at_us {{BIGINT}},
    PRIMARY KEY (target, object, subject)
);
CREATE INDEX submission_item_due ON submission_item (target, object, state, since_us, subject);

-- Every attempt.
CREATE TABLE submission_attempt (
    id {{ID}},
    at_us {{BIGINT}} NOT NULL,
    target {{TEXT}} NOT NULL,
    submission {{TEXT}} NOT NULL,
    version {{TEXT}} NOT NULL,
    object {{TEXT}} NOT NULL,
    subject {{TEXT}} NOT NULL,
    -- At the platform; empty if it has none yet.
    subject_key {{TEXT}} NOT NULL,
    -- SHA-256 of what was sent of it, and what was the same for all that went with it.
    digest {{TEXT}} NOT NULL,
    batch {{TEXT}} NOT NULL,
    -- sent, accepted, refused, failed, unfit.
    outcome {{TEXT}} NOT NULL,
    -- JSON.
    detail {{TEXT}} NOT NULL,
    enterprise_id {{BIGINT}},
    region {{TEXT}},
    sector {{TEXT}}
);
CREATE INDEX submission_attempt_target ON submission_attempt (target, id);
CREATE INDEX submission_attempt_subject ON submission_attempt (target, object, subject, id);
CREATE INDEX submission_attempt_at ON submission_attempt (at_us);
