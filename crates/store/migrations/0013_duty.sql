-- Shifts of duty rotas (值班班次). One that was taken away keeps its row.
CREATE TABLE duty_shift (
    id {{ID}},
    region {{TEXT}} NOT NULL,
    -- watch, leader, on_call
    desk {{TEXT}} NOT NULL,
    user_id {{BIGINT}} NOT NULL REFERENCES users (id),
    second_id {{BIGINT}} REFERENCES users (id),
    from_us {{BIGINT}} NOT NULL,
    to_us {{BIGINT}} NOT NULL,
    phone {{TEXT}} NOT NULL,
    note {{TEXT}} NOT NULL,
    removed_at_us {{BIGINT}},
    revision {{BIGINT}} NOT NULL DEFAULT 1
);
CREATE INDEX duty_shift_region ON duty_shift (region, desk, from_us);
CREATE INDEX duty_shift_from ON duty_shift (from_us, id);
CREATE INDEX duty_shift_user ON duty_shift (user_id, from_us);
CREATE INDEX duty_shift_second ON duty_shift (second_id, from_us);

-- What whoever ends a shift says to the next (交接班), with the alarms that were open then as the node counted them.
CREATE TABLE duty_handover (
    shift_id {{BIGINT}} PRIMARY KEY REFERENCES duty_shift (id),
    text {{TEXT}} NOT NULL,
    n_alarms {{BIGINT}} NOT NULL,
    -- JSON: names of the newest of them.
    alarms {{TEXT}} NOT NULL,
    written_by {{BIGINT}} NOT NULL REFERENCES users (id),
    written_at_us {{BIGINT}} NOT NULL,
    confirmed_by {{BIGINT}} REFERENCES users (id),
    confirmed_at_us {{BIGINT}},
    revision {{BIGINT}} NOT NULL DEFAULT 1
);

-- Two files of one enterprise: the one that went, and into which. Its row stays, so that its id and code lead to the other.
ALTER TABLE enterprise ADD COLUMN merged_into {{BIGINT}} REFERENCES enterprise (id);
ALTER TABLE enterprise ADD COLUMN merged_at_us {{BIGINT}};
