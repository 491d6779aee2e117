-- Files of records; the bytes are files below the data directory, by hash. Without a record it waits for the act that names it.
CREATE TABLE attachment (
    id {{ID}},
    record_id {{BIGINT}} REFERENCES record (id),
    uploaded_by {{BIGINT}} NOT NULL REFERENCES users (id),
    uploaded_at_us {{BIGINT}} NOT NULL,
    name {{TEXT}} NOT NULL,
    -- By the bytes, not by the name.
    media_type {{TEXT}} NOT NULL,
    bytes {{BIGINT}} NOT NULL,
    -- Of the original, hexadecimal.
    sha256 {{TEXT}} NOT NULL
);
CREATE INDEX attachment_record ON attachment (record_id, id);
CREATE INDEX attachment_sha256 ON attachment (sha256);
