-- Pictures, sounds and films of terminals; the bytes are files below the data directory. Without bytes it was announced and never came.
CREATE TABLE media (
    id {{ID}},
    vehicle_id {{BIGINT}} NOT NULL REFERENCES vehicle (id),
    media_id {{BIGINT}} NOT NULL,
    kind {{BIGINT}} NOT NULL,
    format {{BIGINT}} NOT NULL,
    event {{BIGINT}} NOT NULL,
    channel {{BIGINT}} NOT NULL,
    received_at_us {{BIGINT}} NOT NULL,
    taken_at_us {{BIGINT}},
    lon_e6 {{BIGINT}},
    lat_e6 {{BIGINT}},
    -- Hexadecimal; '' = announced.
    sha256 {{TEXT}} NOT NULL,
    bytes {{BIGINT}} NOT NULL,
    UNIQUE (vehicle_id, media_id, sha256)
);
CREATE INDEX media_received ON media (received_at_us);
