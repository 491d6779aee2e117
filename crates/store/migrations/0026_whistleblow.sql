-- Reports of violations (举报): what reporters say is sealed before it comes here; see ADR 0029.
CREATE TABLE holder (
    user_id {{BIGINT}} PRIMARY KEY,
    appointed_by_name {{TEXT}} NOT NULL,
    appointed_at_us {{BIGINT}} NOT NULL,
    -- Another holder who vouches for them; empty while there were none to do so. NULL = not yet: nothing is sealed to them.
    confirmed_by_name {{TEXT}}
);

-- Keys of holders (保管人), each under its holder's passphrase. A key that no longer seals still opens.
CREATE TABLE holder_key (
    n {{ID}},
    user_id {{BIGINT}} NOT NULL,
    -- age1…
    recipient {{TEXT}} NOT NULL UNIQUE,
    -- An age file under the passphrase.
    locked {{BLOB}} NOT NULL,
    made_at_us {{BIGINT}} NOT NULL,
    -- Sealed to until then.
    retired_at_us {{BIGINT}}
);
CREATE INDEX holder_key_user ON holder_key (user_id, n);

CREATE TABLE whistleblow (
    record_id {{BIGINT}} PRIMARY KEY,
    -- SHA-256 of the receipt code.
    code_hash {{BLOB}} NOT NULL UNIQUE,
    -- Words and files that came, for the brake of one report.
    parts {{BIGINT}} NOT NULL
);

-- What came, each an age file.
CREATE TABLE sealed_part (
    n {{ID}},
    record_id {{BIGINT}} NOT NULL,
    -- words, file, identity.
    what {{TEXT}} NOT NULL,
    -- Of a file: the words it came with.
    words_n {{BIGINT}},
    bytes {{BLOB}} NOT NULL,
    received_at_us {{BIGINT}} NOT NULL
);
CREATE INDEX sealed_part_record ON sealed_part (record_id, n);

-- The secret of an identity's key for each two holders: sealed to the asker's key, and around that to the granter's.
CREATE TABLE sealed_lock (
    part_n {{BIGINT}} NOT NULL,
    asker_key {{BIGINT}} NOT NULL,
    granter_key {{BIGINT}} NOT NULL,
    bytes {{BLOB}} NOT NULL,
    PRIMARY KEY (part_n, asker_key, granter_key)
);

-- Questions for who reported: one holder asks, another grants.
CREATE TABLE unsealing (
    n {{ID}},
    record_id {{BIGINT}} NOT NULL,
    reason {{TEXT}} NOT NULL,
    asked_by {{BIGINT}} NOT NULL,
    asked_by_name {{TEXT}} NOT NULL,
    asked_at_us {{BIGINT}} NOT NULL,
    -- asked, granted, refused.
    state {{TEXT}} NOT NULL,
    decided_by_name {{TEXT}},
    decided_at_us {{BIGINT}},
    -- Why it was refused.
    opinion {{TEXT}} NOT NULL DEFAULT '',
    -- Until when the asker can open what was granted.
    until_us {{BIGINT}},
    opened_at_us {{BIGINT}}
);
CREATE INDEX unsealing_record ON unsealing (record_id, n);

-- What a granter left of a lock: sealed to the asker's key.
CREATE TABLE unsealing_layer (
    unsealing_n {{BIGINT}} NOT NULL,
    part_n {{BIGINT}} NOT NULL,
    bytes {{BLOB}} NOT NULL,
    PRIMARY KEY (unsealing_n, part_n)
);
