-- One text for SQLite and PostgreSQL; {{WORDS}} are expanded by src/migrate.rs.
-- Instants are µs since 1970 UTC (…_us), truth values 0 and 1, ids never reused.
-- A unique index is named table_field: the name tells people which field is taken.

CREATE TABLE region (
    code {{TEXT}} PRIMARY KEY,
    name {{TEXT}} NOT NULL,
    name_en {{TEXT}} NOT NULL
);

CREATE TABLE enterprise (
    id {{ID}},
    code {{TEXT}} NOT NULL,
    name {{TEXT}} NOT NULL,
    region {{TEXT}} NOT NULL,
    sector {{TEXT}} NOT NULL,
    lon {{DOUBLE}},
    lat {{DOUBLE}},
    revision {{BIGINT}} NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX enterprise_code ON enterprise (code);
CREATE INDEX enterprise_region ON enterprise (region);

CREATE TABLE device (
    id {{ID}},
    code {{TEXT}} NOT NULL,
    name {{TEXT}} NOT NULL,
    enterprise_id {{BIGINT}} REFERENCES enterprise (id),
    protocol {{TEXT}} NOT NULL,
    gateway {{BIGINT}} NOT NULL DEFAULT 0,
    may_backfill {{BIGINT}} NOT NULL DEFAULT 0,
    disabled {{BIGINT}} NOT NULL DEFAULT 0,
    secret_hash {{BLOB}} NOT NULL,
    revision {{BIGINT}} NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX device_code ON device (code);
CREATE INDEX device_enterprise ON device (enterprise_id);

-- The owner of a point is the owner of its device: one truth, joined.
CREATE TABLE point (
    id {{ID}},
    device_id {{BIGINT}} NOT NULL REFERENCES device (id),
    site {{TEXT}} NOT NULL DEFAULT '',
    code {{TEXT}} NOT NULL,
    name {{TEXT}} NOT NULL,
    unit {{TEXT}} NOT NULL DEFAULT '',
    kind {{TEXT}} NOT NULL DEFAULT '',
    period_s {{DOUBLE}} NOT NULL DEFAULT 0,
    range_low {{DOUBLE}},
    range_high {{DOUBLE}},
    limits {{TEXT}} NOT NULL,
    limits_source {{TEXT}},
    confirmed {{BIGINT}} NOT NULL,
    lon {{DOUBLE}},
    lat {{DOUBLE}},
    revision {{BIGINT}} NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX point_code ON point (device_id, code);

CREATE TABLE vehicle (
    id {{ID}},
    phone {{TEXT}} NOT NULL,
    plate {{TEXT}} NOT NULL DEFAULT '',
    kind {{TEXT}} NOT NULL DEFAULT '',
    enterprise_id {{BIGINT}} REFERENCES enterprise (id),
    region {{TEXT}},
    trust {{TEXT}} NOT NULL,
    adopted {{BIGINT}} NOT NULL,
    -- Which authentication code holds, and until when a registration is answered with it.
    code_generation {{BIGINT}} NOT NULL DEFAULT 0,
    enrol_until_us {{BIGINT}},
    speed_limit_kmh {{DOUBLE}},
    revision {{BIGINT}} NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX vehicle_phone ON vehicle (phone);
CREATE INDEX vehicle_enterprise ON vehicle (enterprise_id);

-- "user" is a reserved word in PostgreSQL.
CREATE TABLE users (
    id {{ID}},
    username {{TEXT}} NOT NULL,
    name {{TEXT}} NOT NULL,
    password {{TEXT}} NOT NULL,
    disabled {{BIGINT}} NOT NULL DEFAULT 0,
    created_at_us {{BIGINT}} NOT NULL,
    revision {{BIGINT}} NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX users_username ON users (username);

CREATE TABLE user_grant (
    id {{ID}},
    user_id {{BIGINT}} NOT NULL REFERENCES users (id),
    role {{TEXT}} NOT NULL,
    region {{TEXT}},
    sector {{TEXT}},
    enterprise_id {{BIGINT}} REFERENCES enterprise (id)
);
CREATE INDEX user_grant_user ON user_grant (user_id);

-- Session life runs on real time, never on a test clock.
CREATE TABLE session (
    token_hash {{BLOB}} PRIMARY KEY,
    user_id {{BIGINT}} NOT NULL REFERENCES users (id),
    csrf {{TEXT}} NOT NULL,
    user_agent {{TEXT}} NOT NULL,
    created_at_us {{BIGINT}} NOT NULL,
    seen_at_us {{BIGINT}} NOT NULL,
    reauth_at_us {{BIGINT}} NOT NULL,
    expires_at_us {{BIGINT}} NOT NULL
);
CREATE INDEX session_by_user ON session (user_id);

CREATE TABLE setup_token (
    token_hash {{BLOB}} PRIMARY KEY,
    expires_at_us {{BIGINT}} NOT NULL
);

CREATE TABLE sign_in_failure (
    id {{ID}},
    username {{TEXT}} NOT NULL,
    address {{TEXT}} NOT NULL,
    at_us {{BIGINT}} NOT NULL
);
CREATE INDEX sign_in_failure_username ON sign_in_failure (username, at_us);
CREATE INDEX sign_in_failure_address ON sign_in_failure (address, at_us);

-- The condition, written by the projector alone. No foreign keys: an effect in the log must always find its place.
-- Owner columns are those of the moment it was raised.
CREATE TABLE alarm (
    id {{TEXT}} PRIMARY KEY,
    rule {{TEXT}} NOT NULL,
    kind {{TEXT}} NOT NULL,
    subject {{TEXT}} NOT NULL,
    point_id {{BIGINT}},
    vehicle_id {{BIGINT}},
    unit {{TEXT}} NOT NULL,
    enterprise_id {{BIGINT}},
    region {{TEXT}},
    sector {{TEXT}},
    level {{TEXT}} NOT NULL,
    value {{DOUBLE}},
    threshold {{DOUBLE}},
    source {{TEXT}} NOT NULL,
    confidence {{TEXT}} NOT NULL,
    onset_at_us {{BIGINT}} NOT NULL,
    raised_at_us {{BIGINT}} NOT NULL,
    returned_at_us {{BIGINT}},
    historic {{BIGINT}} NOT NULL
);
CREATE UNIQUE INDEX alarm_open ON alarm (rule, subject) WHERE returned_at_us IS NULL AND historic = 0;
CREATE INDEX alarm_raised ON alarm (raised_at_us, id);
CREATE INDEX alarm_enterprise ON alarm (enterprise_id, raised_at_us);
CREATE INDEX alarm_point ON alarm (point_id, raised_at_us);
CREATE INDEX alarm_vehicle ON alarm (vehicle_id, raised_at_us);
-- Few alarms stand at one time: the worst level of a point, vehicle or enterprise is read from these.
CREATE INDEX alarm_standing_enterprise ON alarm (enterprise_id) WHERE returned_at_us IS NULL AND historic = 0;
CREATE INDEX alarm_standing_point ON alarm (point_id) WHERE returned_at_us IS NULL AND historic = 0;
CREATE INDEX alarm_standing_vehicle ON alarm (vehicle_id) WHERE returned_at_us IS NULL AND historic = 0;

-- What people did about it, one row per level of the network; "local" is this node.
CREATE TABLE alarm_handling (
    alarm_id {{TEXT}} NOT NULL REFERENCES alarm (id),
    level {{TEXT}} NOT NULL,
    acknowledged_at_us {{BIGINT}},
    acknowledged_by_id {{BIGINT}},
    acknowledged_by {{TEXT}},
    acknowledged_note {{TEXT}},
    closed_at_us {{BIGINT}},
    closed_by_id {{BIGINT}},
    closed_by {{TEXT}},
    closed_reason {{TEXT}},
    PRIMARY KEY (alarm_id, level)
);

-- How far the log is applied; one row per shard group.
CREATE TABLE projection (
    shard {{BIGINT}} PRIMARY KEY,
    position {{BIGINT}} NOT NULL
);
INSERT INTO projection (shard, position) VALUES (0, 0);

CREATE TABLE audit (
    id {{ID}},
    at_us {{BIGINT}} NOT NULL,
    user_id {{BIGINT}},
    name {{TEXT}} NOT NULL,
    action {{TEXT}} NOT NULL,
    noun {{TEXT}} NOT NULL,
    subject {{TEXT}} NOT NULL,
    detail {{TEXT}} NOT NULL,
    enterprise_id {{BIGINT}},
    region {{TEXT}},
    sector {{TEXT}},
    row_hash {{TEXT}} NOT NULL,
    prev_hash {{TEXT}} NOT NULL,
    hash {{TEXT}} NOT NULL
);
CREATE INDEX audit_subject ON audit (noun, subject, id);
CREATE INDEX audit_user ON audit (user_id, id);

-- Newest hash of the audit chain. Every change locks this row first, so the chain never forks.
CREATE TABLE audit_head (
    id {{BIGINT}} PRIMARY KEY,
    n_entries {{BIGINT}} NOT NULL,
    hash {{TEXT}} NOT NULL
);
INSERT INTO audit_head (id, n_entries, hash) VALUES (1, 0, '');

CREATE TABLE outbox (
    id {{ID}},
    at_us {{BIGINT}} NOT NULL,
    kind {{TEXT}} NOT NULL,
    body {{TEXT}} NOT NULL
);

CREATE TABLE event (
    id {{ID}},
    at_us {{BIGINT}} NOT NULL,
    kind {{TEXT}} NOT NULL,
    subject {{TEXT}} NOT NULL,
    detail {{TEXT}} NOT NULL,
    enterprise_id {{BIGINT}},
    region {{TEXT}},
    sector {{TEXT}}
);
CREATE INDEX event_kind ON event (kind, id);

CREATE TABLE quarantine (
    id {{ID}},
    at_us {{BIGINT}} NOT NULL,
    source {{TEXT}} NOT NULL,
    protocol {{TEXT}} NOT NULL,
    reason {{TEXT}} NOT NULL,
    bytes {{BLOB}} NOT NULL
);

CREATE TABLE command (
    id {{ID}},
    device_id {{BIGINT}} REFERENCES device (id),
    vehicle_id {{BIGINT}} REFERENCES vehicle (id),
    body {{TEXT}} NOT NULL,
    state {{TEXT}} NOT NULL,
    created_at_us {{BIGINT}} NOT NULL,
    created_by {{TEXT}} NOT NULL,
    sent_at_us {{BIGINT}},
    answered_at_us {{BIGINT}},
    answer {{TEXT}}
);
CREATE INDEX command_state ON command (state, id);
CREATE INDEX command_device ON command (device_id, id);
CREATE INDEX command_vehicle ON command (vehicle_id, id);

CREATE TABLE setting (
    key {{TEXT}} PRIMARY KEY,
    value {{TEXT}} NOT NULL
);
