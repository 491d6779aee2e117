-- Keys (接口密钥) by which programs of others read open data. A key is nobody: it reads what it was made for, within its own bounds.
CREATE TABLE api_key (
    id {{ID}},
    name {{TEXT}} NOT NULL,
    -- The organisation it was given to.
    holder {{TEXT}} NOT NULL,
    -- SHA-256 of the key, which is shown once and kept nowhere.
    token_hash {{BLOB}} NOT NULL UNIQUE,
    -- Its first characters, by which people tell keys apart.
    shown {{TEXT}} NOT NULL,
    -- Words of datasets, JSON.
    datasets {{TEXT}} NOT NULL,
    -- Bounds as those of a grant; NULL = no bound of that kind.
    region {{TEXT}},
    sector {{TEXT}},
    enterprise_id {{BIGINT}} REFERENCES enterprise (id),
    per_minute {{BIGINT}} NOT NULL,
    per_day {{BIGINT}} NOT NULL,
    -- Last day in Beijing on which it is taken, ISO.
    valid_until {{TEXT}} NOT NULL,
    created_by {{BIGINT}},
    created_by_name {{TEXT}} NOT NULL,
    created_at_us {{BIGINT}} NOT NULL,
    revoked_by_name {{TEXT}},
    revoked_at_us {{BIGINT}},
    -- As written down once a minute: last request, and the requests of its day in Beijing.
    last_used_at_us {{BIGINT}},
    used_on {{TEXT}} NOT NULL DEFAULT '',
    used_n {{BIGINT}} NOT NULL DEFAULT 0,
    revision {{BIGINT}} NOT NULL DEFAULT 1
);
CREATE INDEX api_key_enterprise ON api_key (enterprise_id);
CREATE INDEX api_key_region ON api_key (region);
