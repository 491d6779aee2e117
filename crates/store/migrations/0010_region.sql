-- The days on which a division's code is in force (ISO, Beijing), and the code that the same territory has afterwards.
ALTER TABLE region ADD COLUMN kind {{TEXT}} NOT NULL DEFAULT '';
ALTER TABLE region ADD COLUMN valid_from {{TEXT}};
ALTER TABLE region ADD COLUMN valid_to {{TEXT}};
ALTER TABLE region ADD COLUMN became {{TEXT}};
ALTER TABLE region ADD COLUMN confidence {{TEXT}} NOT NULL DEFAULT '';
