-- Legal holds: what they name is kept whatever retention says. Rows are never deleted; a hold ends by being released.
CREATE TABLE hold (
    id {{ID}},
    enterprise_id {{BIGINT}} REFERENCES enterprise (id),
    from_us {{BIGINT}} NOT NULL,
    to_us {{BIGINT}} NOT NULL,
    reason {{TEXT}} NOT NULL,
    created_at_us {{BIGINT}} NOT NULL,
    created_by {{TEXT}} NOT NULL,
    released_at_us {{BIGINT}},
    released_by {{TEXT}},
    release_reason {{TEXT}}
);

-- Points and vehicles by name; of an enterprise those it had when the hold was set, so that a device that moves on stays held.
CREATE TABLE hold_item (
    hold_id {{BIGINT}} NOT NULL REFERENCES hold (id),
    point_id {{BIGINT}} REFERENCES point (id),
    vehicle_id {{BIGINT}} REFERENCES vehicle (id)
);
CREATE INDEX hold_item_hold ON hold_item (hold_id);

-- Days (counted from 1970, UTC) that retention dropped something of, and when it did so last: an empty answer must not pass for silence.
CREATE TABLE dropped_day (
    day {{BIGINT}} PRIMARY KEY,
    readings_at_us {{BIGINT}},
    positions_at_us {{BIGINT}},
    rollups_at_us {{BIGINT}}
);
