-- Combination rules (组合规则) of one enterprise each. A deleted one keeps its row: alarms name it.
CREATE TABLE combination (
    id {{ID}},
    enterprise_id {{BIGINT}} NOT NULL REFERENCES enterprise (id),
    name {{TEXT}} NOT NULL,
    level {{TEXT}} NOT NULL,
    needed {{BIGINT}} NOT NULL,
    within_s {{DOUBLE}} NOT NULL,
    document {{TEXT}} NOT NULL,
    clause {{TEXT}} NOT NULL DEFAULT '',
    deleted_at_us {{BIGINT}},
    revision {{BIGINT}} NOT NULL DEFAULT 1
);
CREATE INDEX combination_enterprise ON combination (enterprise_id);

-- Rows of a standing combination alone; place counts from 0.
CREATE TABLE combination_member (
    combination_id {{BIGINT}} NOT NULL REFERENCES combination (id),
    place {{BIGINT}} NOT NULL,
    point_id {{BIGINT}} NOT NULL REFERENCES point (id),
    kind {{TEXT}} NOT NULL,
    PRIMARY KEY (combination_id, place)
);
CREATE INDEX combination_member_by_point ON combination_member (point_id);

-- What a combination alarm is made of, written by the projector alone; no foreign keys, as for alarm.
CREATE TABLE alarm_member (
    alarm_id {{TEXT}} NOT NULL,
    point_id {{BIGINT}} NOT NULL,
    kind {{TEXT}} NOT NULL,
    place {{BIGINT}} NOT NULL,
    combination_id {{BIGINT}} NOT NULL,
    -- The member's own alarm; NULL = it took no part.
    member_id {{TEXT}},
    PRIMARY KEY (alarm_id, point_id, kind)
);
CREATE INDEX alarm_member_by_point ON alarm_member (point_id);
