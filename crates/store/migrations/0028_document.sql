-- What stands in official documents (公文): written once with the record that it is of, never changed. The file is made once, after issuing, and kept.
CREATE TABLE document (
    record_id {{BIGINT}} PRIMARY KEY,
    -- JSON, byte for byte what the digest is of.
    content {{TEXT}} NOT NULL,
    -- SHA-256 of the content, hexadecimal.
    digest {{TEXT}} NOT NULL,
    -- JSON: what it was composed from.
    made_from {{TEXT}} NOT NULL,
    -- The PDF, its SHA-256, and when it was made; none until it was.
    pdf {{BLOB}},
    pdf_digest {{TEXT}},
    pdf_made_at_us {{BIGINT}}
);
