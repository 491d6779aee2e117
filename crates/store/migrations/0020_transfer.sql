-- Transfers of home (主管移交) of an enterprise to a node below. Stands at its giver and at its target.
CREATE TABLE transfer (
    -- UUIDv7, made once at the giver.
    id {{TEXT}} PRIMARY KEY,
    origin {{TEXT}} NOT NULL,
    target {{TEXT}} NOT NULL,
    -- As it is called here; NULL at the target until it is taken.
    enterprise_id {{BIGINT}} REFERENCES enterprise (id),
    -- At the giver: offered, withdrawing, taken, refused, withdrawn. At the target what it said, received before that.
    state {{TEXT}} NOT NULL,
    -- JSON: how many pieces, their hash, and what is shown of it while it is on its way.
    head {{TEXT}} NOT NULL,
    -- JSON: what stood against it.
    problems {{TEXT}} NOT NULL,
    made_at_us {{BIGINT}} NOT NULL,
    ended_at_us {{BIGINT}}
);
-- At the target, until it is taken: what is handed over is larger than an entry of a feed.
CREATE TABLE transfer_piece (
    transfer_id {{TEXT}} NOT NULL REFERENCES transfer (id),
    place {{BIGINT}} NOT NULL,
    data {{TEXT}} NOT NULL,
    PRIMARY KEY (transfer_id, place)
);
-- At the target: its last word, in parts as they travel; it is said again to a giver that forgot it.
CREATE TABLE transfer_word (
    transfer_id {{TEXT}} NOT NULL REFERENCES transfer (id),
    place {{BIGINT}} NOT NULL,
    body {{TEXT}} NOT NULL,
    PRIMARY KEY (transfer_id, place)
);
-- At the giver, while it is under way: neither may be changed.
ALTER TABLE enterprise ADD COLUMN transfer {{TEXT}};
ALTER TABLE record ADD COLUMN transfer {{TEXT}};
CREATE INDEX record_transfer ON record (transfer);
-- Of a record that was taken: the node that was its home before, and how many of its steps are of that time.
ALTER TABLE record ADD COLUMN former {{TEXT}};
ALTER TABLE record ADD COLUMN former_acts {{BIGINT}};
-- What records that were taken name at their former home, as it stands in them: people NODE/ID, records NODE/record/ID, files NODE/file/ID.
CREATE TABLE elsewhere (
    -- person, record, file.
    kind {{TEXT}} NOT NULL,
    subject {{TEXT}} NOT NULL,
    name {{TEXT}} NOT NULL,
    -- JSON: of a file what it is; its bytes stay there.
    detail {{TEXT}} NOT NULL,
    PRIMARY KEY (kind, subject)
);
-- With it this node knows again what it handed over, also after a backup from before was put back.
CREATE TABLE transfer_secret (id {{BIGINT}} PRIMARY KEY, secret {{TEXT}} NOT NULL);
INSERT INTO transfer_secret (id, secret) VALUES (1, {{RANDOM}});
-- The release before refused what it was told of transfers: it is told again, with all the rest, which changes nothing.
UPDATE link_inbox SET feed = 0;
