-- Assessments (考核) of a year: which units are scored by which table, what people gave, and what a leader signed. What is reckoned is not kept until then.
CREATE TABLE assessment (
    n {{ID}},
    id {{TEXT}} NOT NULL UNIQUE,
    -- Word of the table, and the table as JSON as it was when the assessment began.
    table_id {{TEXT}} NOT NULL,
    table_json {{TEXT}} NOT NULL,
    year {{BIGINT}} NOT NULL,
    -- The division that assesses those below it.
    region {{TEXT}} NOT NULL,
    -- open, frozen.
    state {{TEXT}} NOT NULL,
    revision {{BIGINT}} NOT NULL,
    made_by {{BIGINT}},
    made_by_name {{TEXT}} NOT NULL,
    made_at_us {{BIGINT}} NOT NULL,
    -- Of a frozen one: canonical JSON byte for byte, its SHA-256, the node's signature over it (Base64) and the key, who and when. Never changed.
    content {{TEXT}},
    digest {{TEXT}},
    signature {{TEXT}},
    public_key {{TEXT}},
    frozen_by {{BIGINT}},
    frozen_by_name {{TEXT}},
    frozen_at_us {{BIGINT}},
    UNIQUE (table_id, year, region)
);

-- Units of an assessment, with why one is left out; empty = it is not.
CREATE TABLE assessment_unit (
    assessment {{TEXT}} NOT NULL,
    region {{TEXT}} NOT NULL,
    excluded {{TEXT}} NOT NULL,
    PRIMARY KEY (assessment, region)
);
CREATE INDEX assessment_unit_region ON assessment_unit (region);

-- What a person gave: points of an item, or 1 = a veto is met, 0 = it is not. Another person confirms it; whoever changes it takes that away.
CREATE TABLE assessment_score (
    assessment {{TEXT}} NOT NULL,
    region {{TEXT}} NOT NULL,
    -- Word of the item or veto.
    item {{TEXT}} NOT NULL,
    -- A decimal as text.
    points {{TEXT}} NOT NULL,
    reason {{TEXT}} NOT NULL,
    -- JSON: records by register and id.
    evidence {{TEXT}} NOT NULL,
    scored_by {{BIGINT}},
    scored_by_name {{TEXT}} NOT NULL,
    scored_at_us {{BIGINT}} NOT NULL,
    confirmed_by {{BIGINT}},
    confirmed_by_name {{TEXT}},
    confirmed_at_us {{BIGINT}},
    PRIMARY KEY (assessment, region, item)
);
