-- Packs that an administrator switched on, with their files as they were then: a folder that changes later changes nothing here.
CREATE TABLE pack (
    id {{TEXT}} PRIMARY KEY,
    hash {{TEXT}} NOT NULL,
    enabled {{BIGINT}} NOT NULL,
    changed_by {{TEXT}} NOT NULL,
    changed_at_us {{BIGINT}} NOT NULL
);

CREATE TABLE pack_file (
    pack_id {{TEXT}} NOT NULL REFERENCES pack (id),
    path {{TEXT}} NOT NULL,
    text {{TEXT}} NOT NULL,
    PRIMARY KEY (pack_id, path)
);

-- Records of registers, of every kind. Region and sector of an enterprise's record are the enterprise's, and move with it.
CREATE TABLE record (
    id {{ID}},
    kind {{TEXT}} NOT NULL,
    number {{TEXT}} NOT NULL,
    title {{TEXT}} NOT NULL,
    enterprise_id {{BIGINT}} REFERENCES enterprise (id),
    region {{TEXT}} NOT NULL,
    sector {{TEXT}},
    state {{TEXT}} NOT NULL,
    is_open {{BIGINT}} NOT NULL,
    -- ISO dates; the last day on which it is in time, and the day of the next word about it.
    due_on {{TEXT}},
    remind_on {{TEXT}},
    escalated {{BIGINT}} NOT NULL,
    -- Unique within the kind; NULL = the kind has no key.
    record_key {{TEXT}},
    parent_id {{BIGINT}} REFERENCES record (id),
    -- From which day on it is a task; NULL = as long as it is open.
    task_on {{TEXT}},
    -- Whose task alone it is; NULL = that of the roles in record_task.
    task_user {{BIGINT}},
    -- Plain text that a search looks into: its own, and with the enterprise's name and code.
    own_text {{TEXT}} NOT NULL,
    search_text {{TEXT}} NOT NULL,
    body {{TEXT}} NOT NULL,
    created_at_us {{BIGINT}} NOT NULL,
    updated_at_us {{BIGINT}} NOT NULL,
    revision {{BIGINT}} NOT NULL
);
-- Lists are picked out of these alone: newest first, of one enterprise, by due day.
CREATE INDEX record_kind ON record (kind, id, region, sector, enterprise_id, state, is_open);
CREATE INDEX record_enterprise ON record (enterprise_id, kind, id, region, sector, state, is_open);
CREATE INDEX record_open ON record (is_open, kind, due_on, id, region, sector, enterprise_id, state);
CREATE INDEX record_remind ON record (remind_on);
CREATE INDEX record_parent ON record (parent_id);
CREATE UNIQUE INDEX record_key ON record (kind, record_key);

-- What lists are narrowed by.
CREATE TABLE record_index (
    record_id {{BIGINT}} NOT NULL REFERENCES record (id),
    kind {{TEXT}} NOT NULL,
    field {{TEXT}} NOT NULL,
    text {{TEXT}},
    num {{DOUBLE}},
    PRIMARY KEY (record_id, field)
);
CREATE INDEX record_index_text ON record_index (kind, field, text, record_id);
CREATE INDEX record_index_num ON record_index (kind, field, num, record_id);

-- Pairs of neighbouring characters, and the last of a word alone (domain::register::search).
CREATE TABLE record_gram (
    kind {{TEXT}} NOT NULL,
    gram {{TEXT}} NOT NULL,
    record_id {{BIGINT}} NOT NULL REFERENCES record (id),
    PRIMARY KEY (kind, gram, record_id)
);
CREATE INDEX record_gram_record ON record_gram (record_id);

-- Roles on whose to-do list an open record stands.
CREATE TABLE record_task (
    record_id {{BIGINT}} NOT NULL REFERENCES record (id),
    role {{TEXT}} NOT NULL,
    PRIMARY KEY (record_id, role)
);

-- How many records of a kind were numbered in a division and year.
CREATE TABLE record_counter (
    name {{TEXT}} PRIMARY KEY,
    n {{BIGINT}} NOT NULL
);

CREATE TABLE notification (
    id {{ID}},
    at_us {{BIGINT}} NOT NULL,
    user_id {{BIGINT}} NOT NULL REFERENCES users (id),
    record_id {{BIGINT}} NOT NULL REFERENCES record (id),
    kind {{TEXT}} NOT NULL,
    detail {{TEXT}} NOT NULL,
    read {{BIGINT}} NOT NULL
);
CREATE INDEX notification_user ON notification (user_id, id);
