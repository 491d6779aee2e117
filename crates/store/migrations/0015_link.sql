-- Nodes of the network: this one, its parent, its children, and those behind them.
CREATE TABLE node (
    id {{TEXT}} PRIMARY KEY,
    name {{TEXT}} NOT NULL,
    -- enterprise, township, county, city, province.
    level {{TEXT}} NOT NULL,
    region {{TEXT}},
    -- Of an enterprise's own node: which enterprise here.
    enterprise_id {{BIGINT}} REFERENCES enterprise (id),
    -- self, parent, child, behind.
    relation {{TEXT}} NOT NULL,
    -- The child through which one behind it is heard.
    via {{TEXT}},
    -- active, frozen, revoked.
    state {{TEXT}} NOT NULL,
    -- Why it is frozen or revoked.
    reason {{TEXT}},
    -- 1: cut by a person; nothing is sent or taken until it is mended.
    paused {{BIGINT}} NOT NULL DEFAULT 0,
    -- SHA-256 of its public key, hexadecimal.
    fingerprint {{TEXT}},
    -- Serial number and end of the certificate it holds; certificates run on real time.
    serial {{TEXT}},
    not_after_us {{BIGINT}},
    -- Of the parent: host and port.
    address {{TEXT}},
    -- JSON: what goes to it or comes from it.
    agreement {{TEXT}} NOT NULL,
    -- The newest start of it that was heard: how many times it had started, and which start that was.
    starts {{BIGINT}} NOT NULL DEFAULT 0,
    nonce {{TEXT}},
    -- Its heartbeat here.
    point_id {{BIGINT}},
    -- JSON: what it last said of itself.
    said {{TEXT}} NOT NULL,
    seen_at_us {{BIGINT}},
    revision {{BIGINT}} NOT NULL DEFAULT 1
);
CREATE INDEX node_relation ON node (relation, id);

-- Codes with which a node may join below this one; times are real.
CREATE TABLE invitation (
    id {{ID}},
    -- SHA-256 of the secret's first half, by which it is found, and of all of it.
    lookup {{BLOB}} NOT NULL,
    secret_hash {{BLOB}} NOT NULL,
    name {{TEXT}} NOT NULL,
    level {{TEXT}} NOT NULL,
    region {{TEXT}},
    enterprise_id {{BIGINT}} REFERENCES enterprise (id),
    made_at_us {{BIGINT}} NOT NULL,
    made_by {{TEXT}} NOT NULL,
    expires_at_us {{BIGINT}} NOT NULL,
    n_tries {{BIGINT}} NOT NULL DEFAULT 0,
    -- open, claimed, confirmed, refused.
    state {{TEXT}} NOT NULL,
    -- Who claimed it: node id and public key (SubjectPublicKeyInfo, DER).
    node_id {{TEXT}},
    public_key {{BLOB}},
    -- What it gets once confirmed: PEM chain.
    certificate {{TEXT}}
);
CREATE INDEX invitation_lookup ON invitation (lookup);

-- What changed and is to be told, newest state of each subject once. `way`: up, or the id of a child.
CREATE TABLE link_feed (
    way {{TEXT}} NOT NULL,
    kind {{TEXT}} NOT NULL,
    -- Node of origin, a slash, its id there.
    subject {{TEXT}} NOT NULL,
    seq {{BIGINT}} NOT NULL,
    -- JSON, in the words of the origin.
    body {{TEXT}} NOT NULL,
    PRIMARY KEY (way, kind, subject)
);
CREATE UNIQUE INDEX link_feed_seq ON link_feed (way, seq);

-- The newest number of each way. Touched last in a transaction: numbers are committed in their order.
CREATE TABLE link_way (
    way {{TEXT}} PRIMARY KEY,
    seq {{BIGINT}} NOT NULL
);

-- What has arrived from a neighbour and is durable here.
CREATE TABLE link_inbox (
    node {{TEXT}} PRIMARY KEY,
    -- Its feed up to here, and the start of it whose numbers those are: starts, a colon, nonce.
    feed {{BIGINT}} NOT NULL,
    feed_of {{TEXT}} NOT NULL,
    -- JSON: positions of its log that are durable here, and the newest with its tag.
    log {{TEXT}} NOT NULL
);

-- Rows here that are another node's: what they are called at home.
CREATE TABLE mirror (
    node {{TEXT}} NOT NULL,
    -- enterprise, device, point.
    kind {{TEXT}} NOT NULL,
    remote_id {{BIGINT}} NOT NULL,
    local_id {{BIGINT}} NOT NULL,
    PRIMARY KEY (node, kind, remote_id)
);
CREATE INDEX mirror_local ON mirror (kind, local_id);

-- Digest of what this node holds of each origin and civil day of `event_at` in Beijing, as of `ledger_position`.
CREATE TABLE ledger (
    origin {{TEXT}} NOT NULL,
    day {{TEXT}} NOT NULL,
    n_readings {{BIGINT}} NOT NULL,
    -- Sum of the readings' hashes modulo 2^128, 32 hexadecimal digits.
    sum {{TEXT}} NOT NULL,
    PRIMARY KEY (origin, day)
);
CREATE TABLE ledger_position (
    id {{BIGINT}} PRIMARY KEY,
    position {{BIGINT}} NOT NULL
);

-- What a holder below said it has of an origin and day, and what this node had at the same position of its log.
CREATE TABLE proof (
    origin {{TEXT}} NOT NULL,
    day {{TEXT}} NOT NULL,
    -- Who said it: the origin itself, or a node between.
    holder {{TEXT}} NOT NULL,
    -- Position in the holder's log.
    position {{BIGINT}} NOT NULL,
    n_readings {{BIGINT}} NOT NULL,
    sum {{TEXT}} NOT NULL,
    -- What the node above the holder had at that position.
    our_n_readings {{BIGINT}},
    our_sum {{TEXT}},
    at_us {{BIGINT}} NOT NULL,
    PRIMARY KEY (origin, day, holder)
);

-- Where the home of an alarm is another node; NULL = here. And what a combination is called there.
ALTER TABLE alarm ADD COLUMN home {{TEXT}};
ALTER TABLE alarm ADD COLUMN name {{TEXT}};
-- Of an enterprise that a node below told of first: that node, whose word about it counts; empty until it has said more than that it owns a device.
-- NULL = this node's own.
ALTER TABLE enterprise ADD COLUMN home {{TEXT}};
-- `level` of alarm_handling is `local`, or the id of the node whose people did it.
