-- Facts (事实): the rows that figures are reckoned from, beside those that registers tell. Never changed: another row revises one.
CREATE TABLE fact (
    n {{ID}},
    -- What tells it from every other row.
    id {{TEXT}} NOT NULL UNIQUE,
    source {{TEXT}} NOT NULL,
    -- ISO days: when it happened, or which day or year it is of; since when it is known.
    happened_on {{TEXT}} NOT NULL,
    known_on {{TEXT}} NOT NULL,
    region {{TEXT}} NOT NULL,
    -- Empty = of none in particular.
    sector {{TEXT}} NOT NULL,
    -- A decimal as text, so that its digits stay.
    value {{TEXT}} NOT NULL,
    -- Id of the row that it takes the place of; a row is revised once.
    revises {{TEXT}} UNIQUE,
    -- reported, published, derived, invented.
    mark {{TEXT}} NOT NULL,
    note {{TEXT}} NOT NULL,
    recorded_by {{TEXT}} NOT NULL,
    recorded_at_us {{BIGINT}} NOT NULL
);
CREATE INDEX fact_source ON fact (source, region, n);
CREATE INDEX fact_region ON fact (region, n);

-- What is decided beside the document of a plan: yearly targets, parts, adjustments, and times of which somebody vouches.
CREATE TABLE plan_decision (
    n {{ID}},
    id {{TEXT}} NOT NULL UNIQUE,
    plan {{TEXT}} NOT NULL,
    -- path, part, adjustment, covered.
    kind {{TEXT}} NOT NULL,
    -- Id of the target, or word of the source that is vouched for.
    subject {{TEXT}} NOT NULL,
    -- JSON.
    body {{TEXT}} NOT NULL,
    -- proposed, approved, refused.
    state {{TEXT}} NOT NULL,
    proposed_by {{BIGINT}},
    proposed_by_name {{TEXT}} NOT NULL,
    proposed_at_us {{BIGINT}} NOT NULL,
    decided_by {{BIGINT}},
    decided_by_name {{TEXT}},
    decided_at_us {{BIGINT}},
    -- Why it was refused.
    opinion {{TEXT}} NOT NULL DEFAULT ''
);
CREATE INDEX plan_decision_plan ON plan_decision (plan, n);
