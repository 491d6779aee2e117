-- Packs offered to the nodes below, by this node or by one above it.
CREATE TABLE pack_offer (
    -- Node that offers it.
    origin {{TEXT}} NOT NULL,
    pack {{TEXT}} NOT NULL,
    hash {{TEXT}} NOT NULL,
    n_pieces {{BIGINT}} NOT NULL,
    -- 1: taken back; the row stays, for nodes below that have not heard.
    withdrawn {{BIGINT}} NOT NULL DEFAULT 0,
    offered_by {{TEXT}} NOT NULL,
    offered_at_us {{BIGINT}} NOT NULL,
    PRIMARY KEY (origin, pack)
);

-- Its files, as they travel: a pack is larger than an entry of a feed. The feed names the subject and finds the body here.
CREATE TABLE pack_piece (
    -- Node of origin, a slash, the pack, a slash, the place.
    subject {{TEXT}} PRIMARY KEY,
    origin {{TEXT}} NOT NULL,
    pack {{TEXT}} NOT NULL,
    place {{BIGINT}} NOT NULL,
    hash {{TEXT}} NOT NULL,
    -- JSON.
    body {{TEXT}} NOT NULL
);
CREATE INDEX pack_piece_offer ON pack_piece (origin, pack, place);

-- Desks whose shifts the nodes below are told.
CREATE TABLE duty_told (
    region {{TEXT}} NOT NULL,
    desk {{TEXT}} NOT NULL,
    PRIMARY KEY (region, desk)
);

-- Who is on duty, as this node tells those below, or as a node above told.
CREATE TABLE roster (
    origin {{TEXT}} PRIMARY KEY,
    -- JSON.
    body {{TEXT}} NOT NULL,
    at_us {{BIGINT}} NOT NULL
);
