-- Orders (交办): what a node above asks of one below. Stands at its origin, at its target and at every node between.
CREATE TABLE link_order (
    -- UUIDv7, made once at the origin.
    id {{TEXT}} PRIMARY KEY,
    origin {{TEXT}} NOT NULL,
    target {{TEXT}} NOT NULL,
    -- The neighbour that told of it; NULL = made here.
    via {{TEXT}},
    -- question, open, act; a node between may hold one that it does not know.
    kind {{TEXT}} NOT NULL,
    -- What it is about, as it is called here: an enterprise that is known here, and where; or a division.
    enterprise_id {{BIGINT}} REFERENCES enterprise (id),
    region {{TEXT}} NOT NULL,
    -- ISO date.
    due_on {{TEXT}},
    -- sent, received, done, refused, answered, withdrawn.
    state {{TEXT}} NOT NULL,
    -- The state that the target last told; NULL = it has told nothing.
    said {{TEXT}},
    -- JSON, in the words of the origin.
    body {{TEXT}} NOT NULL,
    -- JSON, in the words of the target.
    answer {{TEXT}},
    made_at_us {{BIGINT}} NOT NULL,
    -- When nothing followed any more, seen from here.
    ended_at_us {{BIGINT}}
);
CREATE INDEX link_order_target ON link_order (target, state);
CREATE INDEX link_order_enterprise ON link_order (enterprise_id);
