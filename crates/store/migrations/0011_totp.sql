-- A second factor (RFC 6238). The secret is kept in clear: this data directory has no key that is not kept beside it.
CREATE TABLE user_totp (
    user_id {{BIGINT}} PRIMARY KEY REFERENCES users (id),
    secret {{BLOB}} NOT NULL,
    -- Real time. NULL = begun, and nobody is asked for a code yet.
    begun_at_us {{BIGINT}} NOT NULL,
    confirmed_at_us {{BIGINT}},
    -- The time step of the newest code that was taken: that one and those before it are void.
    last_step {{BIGINT}} NOT NULL
);

-- SHA-256 of codes for who lost the device; a used one is gone.
CREATE TABLE user_recovery_code (
    user_id {{BIGINT}} NOT NULL REFERENCES users (id),
    code_hash {{BLOB}} NOT NULL,
    PRIMARY KEY (user_id, code_hash)
);
