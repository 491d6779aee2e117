-- What one vehicle did on one day (Beijing time), reckoned from its kept positions; may be reckoned again at any time.
CREATE TABLE road_day (
    day {{TEXT}} NOT NULL,
    vehicle_id {{BIGINT}} NOT NULL REFERENCES vehicle (id),
    -- Heard with qualified data on this day or before.
    networked {{BIGINT}} NOT NULL,
    n {{BIGINT}} NOT NULL,
    n_qualified {{BIGINT}} NOT NULL,
    n_drift {{BIGINT}} NOT NULL,
    n_no_fix {{BIGINT}} NOT NULL,
    distance_m {{DOUBLE}} NOT NULL,
    complete_m {{DOUBLE}} NOT NULL,
    driving_s {{DOUBLE}} NOT NULL,
    idle_s {{DOUBLE}} NOT NULL,
    n_trips {{BIGINT}} NOT NULL,
    n_overspeed {{BIGINT}} NOT NULL,
    n_fatigue {{BIGINT}} NOT NULL,
    n_ban {{BIGINT}} NOT NULL,
    computed_at_us {{BIGINT}} NOT NULL,
    PRIMARY KEY (day, vehicle_id)
);
CREATE INDEX road_day_vehicle ON road_day (vehicle_id, day);
