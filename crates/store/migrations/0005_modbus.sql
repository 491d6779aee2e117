-- How a device is polled over Modbus TCP; one JSON document, read and replaced whole.
CREATE TABLE modbus_map (
    device_id {{BIGINT}} PRIMARY KEY REFERENCES device (id),
    map {{TEXT}} NOT NULL,
    revision {{BIGINT}} NOT NULL DEFAULT 1
);
