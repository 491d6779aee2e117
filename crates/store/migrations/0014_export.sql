-- Lists that somebody asked for as files; the files lie below the data directory by id and part, and go with the row after a day.
CREATE TABLE export_job (
    id {{ID}},
    user_id {{BIGINT}} NOT NULL REFERENCES users (id),
    kind {{TEXT}} NOT NULL,
    -- JSON: which records, in which language.
    asked {{TEXT}} NOT NULL,
    -- JSON: what the asker held then; with anything else nobody gets the files.
    grants {{TEXT}} NOT NULL,
    asked_at_us {{BIGINT}} NOT NULL,
    -- waiting, done, failed.
    state {{TEXT}} NOT NULL,
    -- JSON: why it failed.
    reason {{TEXT}},
    n_rows {{BIGINT}} NOT NULL,
    n_files {{BIGINT}} NOT NULL,
    done_at_us {{BIGINT}}
);
CREATE INDEX export_job_user ON export_job (user_id, id);
CREATE INDEX export_job_state ON export_job (state, id);
