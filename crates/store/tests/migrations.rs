//! Migrations go forward only: a written one is never edited, and a database of every earlier schema comes to the newest with all it holds.

use std::path::Path;

use anlan_model::{Scope, Timestamp};
use anlan_store::testing::{Database, migrations, number, of_schema, postgres_server, sqlite_url};
use anlan_store::*;

/// A migration, its digest for ever, rows that fit the schema after it, and tables with the number of rows they must have in the end.
struct Step {
    name: &'static str,
    digest: &'static str,
    rows: &'static str,
    /// `SELECT COUNT(*) AS n …` and what it says.
    counts: &'static [(&'static str, i64)],
}

/// Whoever adds a migration adds a step: rows as they stand in a node that runs with it.
const STEPS: &[Step] = &[
    Step {
        name: "0001_start",
        digest: "d507623710b56936d99c880da90c59473f24caa17d121fb19b0a151c127aaab9",
        rows: "INSERT INTO region (code, name, name_en) VALUES ('530402', '红塔区', 'Hongta');
INSERT INTO enterprise (code, name, region, sector) VALUES ('E-1', '企业', '530402', 'hazchem');
INSERT INTO device (code, name, enterprise_id, protocol, secret_hash) SELECT 'D-1', '设备', id, 'mqtt', 'hash' FROM enterprise;
INSERT INTO point (device_id, code, name, limits, confirmed) SELECT id, 'TI-1', '温度', '{}', 1 FROM device;
INSERT INTO vehicle (phone, enterprise_id, trust, adopted) SELECT '13900000001', id, 'open', 1 FROM enterprise;
INSERT INTO users (username, name, password, created_at_us) VALUES ('root', '管理员', '$argon2id$x', 1);
INSERT INTO user_grant (user_id, role) SELECT id, 'administrator' FROM users;
INSERT INTO alarm (id, rule, kind, subject, point_id, unit, level, value, threshold, source, confidence, onset_at_us, raised_at_us, historic)
SELECT '01234567-89ab-7def-8123-456789abcdef', 'hh', 'hh', 'point:1', id, '', 'red', 2.5, 2.0, 'x', 'a', 1, 2, 0 FROM point;
INSERT INTO alarm_handling (alarm_id, level, acknowledged_at_us, acknowledged_by) SELECT id, 'local', 3, '张三' FROM alarm;
UPDATE projection SET position = 77 WHERE shard = 0;
INSERT INTO command (device_id, body, state, created_at_us, created_by) SELECT id, '{\"kind\":\"query_position\"}', 'stored', 4, '张三' FROM device;
INSERT INTO event (at_us, kind, subject, detail) VALUES (5, 'clock_offset', 'device:1', '{}');
INSERT INTO quarantine (at_us, source, protocol, reason, bytes) VALUES (6, '127.0.0.1', 'jt808', 'checksum', '~');
INSERT INTO setting (key, value) VALUES ('terminal_key', 'k');",
        counts: &[
            ("SELECT COUNT(*) AS n FROM alarm_handling WHERE acknowledged_by = '张三'", 1),
            ("SELECT position AS n FROM projection WHERE shard = 0", 77),
            ("SELECT COUNT(*) AS n FROM user_grant AS g JOIN users AS u ON u.id = g.user_id", 1),
            ("SELECT COUNT(*) AS n FROM event", 1),
            ("SELECT COUNT(*) AS n FROM quarantine", 1),
            ("SELECT COUNT(*) AS n FROM command", 1),
        ],
    },
    Step {
        name: "0003_archive",
        digest: "2f0b8fb69a41b0d0caf2668320eed986a13c1795ac8951b226fe5de0fd1db183",
        rows: "INSERT INTO archive_subject (kind, subject_id, from_day, region, labels) VALUES ('point', 1, 20000, '530402', '[\"TI-1\"]');",
        counts: &[("SELECT COUNT(*) AS n FROM archive_subject WHERE region = '530402'", 1)],
    },
    Step {
        name: "0005_modbus",
        digest: "6af380bb1054bf93700eb6529288baa6c72fe193a1701569168eefce58eedd9d",
        rows: "INSERT INTO modbus_map (device_id, map) SELECT id, '{}' FROM device;",
        counts: &[("SELECT COUNT(*) AS n FROM modbus_map AS m JOIN device AS d ON d.id = m.device_id", 1)],
    },
    Step {
        name: "0004_road",
        digest: "cf001e8359a953ff454aeadfbb73b8f40c02ea4b132c1dad291fb458358bfbd2",
        rows: "INSERT INTO road_day (day, vehicle_id, networked, n, n_qualified, n_drift, n_no_fix, distance_m, complete_m, driving_s, idle_s,
  n_trips, n_overspeed, n_fatigue, n_ban, computed_at_us)
SELECT '2026-11-10', id, 1, 10, 9, 1, 0, 1000.5, 900.5, 60, 5, 1, 0, 0, 0, 7 FROM vehicle;",
        counts: &[("SELECT n_qualified AS n FROM road_day WHERE day = '2026-11-10'", 9)],
    },
    Step {
        name: "0006_hold",
        digest: "52868994b5c3138a6dc28d5b991f6354311015b19a65242534898ea2d8f04e9a",
        rows: "INSERT INTO hold (enterprise_id, from_us, to_us, reason, created_at_us, created_by) SELECT id, 1, 9, '案', 8, '张三' FROM enterprise;
INSERT INTO hold_item (hold_id, point_id) SELECT h.id, p.id FROM hold AS h, point AS p;
INSERT INTO dropped_day (day, readings_at_us) VALUES (20000, 9);",
        counts: &[("SELECT COUNT(*) AS n FROM hold_item AS i JOIN hold AS h ON h.id = i.hold_id", 1), ("SELECT COUNT(*) AS n FROM dropped_day", 1)],
    },
    Step {
        name: "0007_combination",
        digest: "31d1f7ca6f2c08dac7e1baeea42937b45fc896cfc36a48bb686ae2f90f2fda9f",
        rows: "INSERT INTO combination (enterprise_id, name, level, needed, within_s, document) SELECT id, '泄漏确认', 'red', 2, 30, '联锁表' FROM enterprise;
INSERT INTO combination_member (combination_id, place, point_id, kind) SELECT c.id, 0, p.id, 'h' FROM combination AS c, point AS p;
INSERT INTO alarm_member (alarm_id, point_id, kind, place, combination_id, member_id)
SELECT '01234567-89ab-7def-8123-000000000001', p.id, 'h', 0, c.id, '01234567-89ab-7def-8123-456789abcdef' FROM combination AS c, point AS p;",
        counts: &[
            ("SELECT COUNT(*) AS n FROM combination_member AS m JOIN combination AS c ON c.id = m.combination_id", 1),
            ("SELECT COUNT(*) AS n FROM alarm_member AS m JOIN alarm AS a ON a.id = m.member_id", 1),
        ],
    },
    Step {
        name: "0008_media",
        digest: "b1d914b6b50168dbea7c843e6a84559b9e7e3c7e61d69621e988f31f93391645",
        rows: "INSERT INTO media (vehicle_id, media_id, kind, format, event, channel, received_at_us, taken_at_us, lon_e6, lat_e6, sha256, bytes)
SELECT id, 7, 0, 0, 3, 1, 10, 9, 102000000, 24000000, 'ff', 12 FROM vehicle;",
        counts: &[("SELECT COUNT(*) AS n FROM media WHERE sha256 = 'ff' AND bytes = 12", 1)],
    },
    Step {
        name: "0009_record",
        digest: "393d01a54b8342d4a8d1fdfb205ae18fbf3a6c6f705b879362764a358f2bfc13",
        rows: "INSERT INTO pack (id, hash, enabled, changed_by, changed_at_us) VALUES ('p', 'h', 1, '张三', 11);
INSERT INTO pack_file (pack_id, path, text) VALUES ('p', 'pack.toml', 'x');
INSERT INTO record (kind, number, title, enterprise_id, region, sector, state, is_open, escalated, own_text, search_text, body, created_at_us,
  updated_at_us, revision)
SELECT 'hidden_danger', 'YH-1', '阀门泄漏', id, region, sector, 'rated', 1, 0, '阀门', '阀门', '{}', 12, 13, 2 FROM enterprise;
INSERT INTO record_index (record_id, kind, field, text) SELECT id, kind, 'level', 'general' FROM record;
INSERT INTO record_gram (kind, gram, record_id) SELECT kind, '阀门', id FROM record;
INSERT INTO record_task (record_id, role) SELECT id, 'safety_manager' FROM record;
INSERT INTO record_counter (name, n) VALUES ('x', 1);
INSERT INTO notification (at_us, user_id, record_id, kind, detail, read) SELECT 14, u.id, r.id, 'task', '{}', 0 FROM users AS u, record AS r;",
        counts: &[
            ("SELECT COUNT(*) AS n FROM record AS r JOIN record_gram AS g ON g.record_id = r.id WHERE r.number = 'YH-1'", 1),
            ("SELECT COUNT(*) AS n FROM notification AS n JOIN record AS r ON r.id = n.record_id", 1),
        ],
    },
    Step {
        name: "0010_region",
        digest: "86de2c91b0ee4ea6f0af4d7819fcae96b7029d7dc8d60e2cc2a2166ece3bf4e5",
        rows: "INSERT INTO region (code, name, name_en, kind, valid_to, became, confidence)
VALUES ('530421', '江川县', 'Jiangchuan County', 'county', '2015-12-02', '530403', 'verified');",
        counts: &[("SELECT COUNT(*) AS n FROM region WHERE became = '530403' AND valid_from IS NULL", 1)],
    },
    Step {
        name: "0011_totp",
        digest: "90dffa1ae4cdecda54a3b22191970551dd7a24dfbbf9554b590c58d9455a9bca",
        rows: "INSERT INTO user_totp (user_id, secret, begun_at_us, confirmed_at_us, last_step) SELECT id, 'secret', 15, 16, 17 FROM users;
INSERT INTO user_recovery_code (user_id, code_hash) SELECT id, 'hash' FROM users;",
        counts: &[("SELECT COUNT(*) AS n FROM user_totp AS t JOIN user_recovery_code AS c ON c.user_id = t.user_id WHERE t.last_step = 17", 1)],
    },
    Step {
        name: "0012_attachment",
        digest: "151269448fb26ba6f2bb89713e622ba09d06bd0a77a8e3a7a2dac789fecc5f41",
        rows: "INSERT INTO attachment (record_id, uploaded_by, uploaded_at_us, name, media_type, bytes, sha256)
SELECT r.id, u.id, 15, '阀门.jpg', 'image/jpeg', 9, 'ab' FROM record AS r, users AS u;",
        counts: &[("SELECT COUNT(*) AS n FROM attachment AS a JOIN record AS r ON r.id = a.record_id WHERE a.bytes = 9", 1)],
    },
    Step {
        name: "0013_duty",
        digest: "9d60402889e535f819f6e12790bab9b32cea7dab5ec0dd215918ac57c76a1e08",
        rows: "INSERT INTO duty_shift (region, desk, user_id, from_us, to_us, phone, note)
SELECT '530402', 'watch', id, 20, 30, '0877-1', '' FROM users;
INSERT INTO duty_handover (shift_id, text, n_alarms, alarms, written_by, written_at_us)
SELECT s.id, '正常', 1, '[]', s.user_id, 30 FROM duty_shift AS s;",
        counts: &[("SELECT COUNT(*) AS n FROM duty_handover AS h JOIN duty_shift AS s ON s.id = h.shift_id WHERE s.to_us = 30", 1)],
    },
    Step {
        name: "0014_export",
        digest: "4711c6394d95d05379120260f47072d95cdcde61bfa8b2df70351b0e4f2bc91c",
        rows: "INSERT INTO export_job (user_id, kind, asked, grants, asked_at_us, state, n_rows, n_files)
SELECT u.id, 'hidden_danger', '{}', '[]', 16, 'waiting', 0, 0 FROM users AS u;",
        counts: &[("SELECT COUNT(*) AS n FROM export_job AS j JOIN users AS u ON u.id = j.user_id WHERE j.asked_at_us = 16", 1)],
    },
    Step {
        name: "0015_link",
        digest: "3bfb953455baeb70c980dd0910d9adca7d480355c2d2e79fe93fc5ee7313fc20",
        rows: "INSERT INTO node (id, name, level, relation, state, agreement, said, starts, nonce) VALUES ('0199f3c27f007abc8def0123456789ab', '县局', 'county', 'self', 'active', '{}', '{}', 3, '77');
INSERT INTO link_feed (way, kind, subject, seq, body) VALUES ('up', 'device', '0199f3c27f007abc8def0123456789ab/1', 1, '{}');
INSERT INTO ledger (origin, day, n_readings, sum) VALUES ('0199f3c27f007abc8def0123456789ab', '2026-11-30', 1, '00000000000000000000000000000001');",
        counts: &[
            ("SELECT COUNT(*) AS n FROM node WHERE name = '县局'", 1),
            ("SELECT COUNT(*) AS n FROM link_feed WHERE seq = 1", 1),
            ("SELECT COUNT(*) AS n FROM alarm WHERE home IS NULL", 1),
            // The start that was noted with the node is the first that is remembered.
            ("SELECT COUNT(*) AS n FROM link_start WHERE starts = 3 AND nonce = '77'", 1),
        ],
    },
    Step {
        name: "0016_mark",
        digest: "37a52b52751ef525a6e8cb38a435ac775f17b944b5ae0b3530c4627416e7ef68",
        rows: "INSERT INTO mirror (node, kind, remote_id, local_id, mark) SELECT '0199f3c27f007abc8def0123456789ab', 'enterprise', 7, id, 'm' FROM enterprise;",
        counts: &[
            ("SELECT COUNT(*) AS n FROM mirror WHERE mark = 'm'", 1),
        ],
    },
    Step {
        name: "0017_copy",
        digest: "1c4061331254b2727be3770413a7c07bef2d00fa7aaf4536e3df4d6d9df63e85",
        rows: "INSERT INTO record (kind, number, title, enterprise_id, region, sector, state, is_open, escalated, own_text, search_text, body, created_at_us,
  updated_at_us, revision, home, above, told_at_us)
SELECT 'listed_supervision', 'GP-1', '罐区', id, region, sector, 'listed', 1, 0, '罐区', '罐区', '{}', 12, 13, 2, '0199f3c27f007abc8def0123456789ac', 7, 14
FROM enterprise;",
        counts: &[
            ("SELECT COUNT(*) AS n FROM record WHERE home IS NULL", 1),
            ("SELECT COUNT(*) AS n FROM record WHERE above = 7 AND told_at_us = 14", 1),
        ],
    },
    Step {
        name: "0018_order",
        digest: "4c6cc2a1b1e4f7a27e05861d25c99fda1b91c27d5995f07d3b7483cd7513e142",
        rows: "INSERT INTO link_order (id, origin, target, kind, enterprise_id, region, state, body, made_at_us)
SELECT '0199f3c2-7f00-7abc-8def-0123456789ab', n.id, n.id, 'question', e.id, e.region, 'sent', '{}', 21 FROM node AS n, enterprise AS e;",
        counts: &[("SELECT COUNT(*) AS n FROM link_order AS o JOIN enterprise AS e ON e.id = o.enterprise_id WHERE o.made_at_us = 21", 1)],
    },
    Step {
        name: "0019_networking",
        digest: "01df20027302f870476dd12668d40d10acd2d90a520e330b376922439e5aab70",
        rows: "INSERT INTO pack_offer (origin, pack, hash, n_pieces, offered_by, offered_at_us) VALUES ('0199f3c27f007abc8def0123456789ab', 'p', 'h', 1, '张三', 15);
INSERT INTO pack_piece (subject, origin, pack, place, hash, body) VALUES ('0199f3c27f007abc8def0123456789ab/p/0', '0199f3c27f007abc8def0123456789ab', 'p', 0, 'h', '{}');
INSERT INTO duty_told (region, desk) VALUES ('530402', 'watch');
INSERT INTO roster (origin, body, at_us) VALUES ('0199f3c27f007abc8def0123456789ab', '{\"shifts\":[]}', 16);",
        counts: &[
            ("SELECT COUNT(*) AS n FROM pack_offer AS o JOIN pack_piece AS p ON p.origin = o.origin AND p.pack = o.pack WHERE o.withdrawn = 0", 1),
            ("SELECT COUNT(*) AS n FROM duty_told", 1),
            ("SELECT COUNT(*) AS n FROM roster", 1),
        ],
    },
    Step {
        name: "0020_transfer",
        digest: "69e31dff04b244c35e3eb43e9832872b643c984257e2722baadadd148ab64905",
        rows: "INSERT INTO transfer (id, origin, target, enterprise_id, state, head, problems, made_at_us) SELECT '01234567-89ab-7def-8123-456789abcdef', '0199f3c27f007abc8def0123456789ab', '0199f3c27f007abc8def0123456789ac', id, 'offered', '{}', '[]', 17 FROM enterprise;
INSERT INTO transfer_piece (transfer_id, place, data) SELECT id, 0, 'x' FROM transfer;
INSERT INTO transfer_word (transfer_id, place, body) SELECT id, 0, '{}' FROM transfer;
UPDATE enterprise SET transfer = '01234567-89ab-7def-8123-456789abcdef';
INSERT INTO elsewhere (kind, subject, name, detail) VALUES ('person', '0199f3c27f007abc8def0123456789ab/1', '张三', 'null');",
        counts: &[
            ("SELECT COUNT(*) AS n FROM enterprise AS e JOIN transfer AS t ON t.id = e.transfer JOIN transfer_piece AS p ON p.transfer_id = t.id", 1),
            ("SELECT COUNT(*) AS n FROM transfer_word", 1),
            ("SELECT COUNT(*) AS n FROM elsewhere WHERE name = '张三'", 1),
            ("SELECT COUNT(*) AS n FROM transfer_secret WHERE LENGTH(secret) = 32", 1),
        ],
    },
    Step {
        name: "0021_submission",
        digest: "7abf33c181459827af353300607accd9f632cd1a50646954cf29f787ab80a386",
        rows: "INSERT INTO submission_target (name, enabled, submission, version, hash, wants, changed_by, changed_at_us) VALUES ('province', 1, 's', '1', 'h', '[{\"object\":\"alarm\",\"of\":\"alarm\"}]', '张三', 17);
INSERT INTO submission_item (target, object, subject, revision, state) VALUES ('province', 'alarm', 'a', 1, 'waiting');
INSERT INTO submission_attempt (at_us, target, submission, version, object, subject, subject_key, digest, batch, outcome, detail) VALUES (18, 'province', 's', '1', 'alarm', 'a', 'k', 'd', 'b', 'failed', '{}');",
        counts: &[
            ("SELECT COUNT(*) AS n FROM submission_target WHERE enabled = 1 AND n_failures = 0", 1),
            ("SELECT COUNT(*) AS n FROM submission_item WHERE since_us = 0 AND next_at_us = 0 AND n_tries = 0", 1),
            ("SELECT COUNT(*) AS n FROM submission_attempt", 1),
        ],
    },
    Step {
        name: "0022_thinned_agreed",
        digest: "b6fb3a9e19a2813d17885f2dcbea54514eb0f2defb4f20dc02d69adaece1e992",
        rows: "INSERT INTO thinned_day (origin, day, holder, n_readings, sum, n_hours, hours_sum, why, at_us)
VALUES ('0199f3c27f007abc8def0123456789ab', '2026-10-01', '0199f3c27f007abc8def0123456789ab', 3, '00000000000000000000000000000003', 1, '00000000000000000000000000000001', 'disk', 17);
INSERT INTO thinning (id, body) VALUES (0, '{}');
INSERT INTO agreed_day (origin, day, readings, of_n_readings, of_sum, n_readings, sum) SELECT origin, day, 'changes', 3, sum, 1, sum FROM thinned_day;
INSERT INTO told_day (origin, day, n_readings, sum) VALUES ('0199f3c27f007abc8def0123456789ab', '2026-10-01', 3, '00000000000000000000000000000003');",
        counts: &[
            ("SELECT COUNT(*) AS n FROM thinned_day AS t JOIN told_day AS d ON d.origin = t.origin AND d.day = t.day WHERE t.at_us = 17", 1),
            ("SELECT COUNT(*) AS n FROM thinning", 1),
            ("SELECT COUNT(*) AS n FROM agreed_day WHERE readings = 'changes'", 1),
            ("SELECT COUNT(*) AS n FROM proof WHERE readings IS NOT NULL", 0),
        ],
    },
    Step {
        name: "0023_start",
        digest: "e5d975a93b0fb0954fee7213c72fc3aea32689d54c95504255ece8698e968afd",
        rows: "INSERT INTO link_start (starts, nonce) VALUES (3, '77');",
        counts: &[("SELECT COUNT(*) AS n FROM link_start", 1)],
    },
    Step {
        name: "0024_alarm_returned",
        digest: "b6945688e093838617b2cb6c9121d8fcca30ae8f98dcbdac3b1bb5a937c07f83",
        rows: "INSERT INTO alarm (id, rule, kind, subject, point_id, unit, level, value, threshold, source, confidence, onset_at_us, raised_at_us, returned_at_us,
  historic, home)
SELECT '01234567-89ab-7def-8123-456789abcd24', rule, kind, subject, point_id, unit, level, value, threshold, source, confidence, 1, 2, 9, 0,
  '0199f3c27f007abc8def0123456789ab' FROM alarm;",
        counts: &[("SELECT COUNT(*) AS n FROM alarm WHERE returned_at_us >= 9 AND onset_at_us < 2", 1)],
    },
    Step {
        name: "0025_plan",
        digest: "bd9ab78ed582bc7c1e0d21507af66c7e05714506c8fd3a358f3d81122fbee351",
        rows: "INSERT INTO fact (id, source, happened_on, known_on, region, sector, value, revises, mark, note, recorded_by, recorded_at_us)
VALUES ('a', 'gdp_100m_yuan', '2010-12-31', '2011-02-01', '5304', '', '736.3', NULL, 'reported', '', 'x', 1),
  ('b', 'gdp_100m_yuan', '2010-12-31', '2011-09-01', '5304', '', '736.5', 'a', 'reported', '', 'x', 2);
INSERT INTO plan_decision (id, plan, kind, subject, body, state, proposed_by_name, proposed_at_us)
VALUES ('d', 'yuxi-12th', 'part', 'G01', '{}', 'proposed', 'x', 1);",
        counts: &[("SELECT COUNT(*) AS n FROM fact WHERE revises IS NULL", 1), ("SELECT COUNT(*) AS n FROM plan_decision WHERE opinion = ''", 1)],
    },
    Step {
        name: "0026_whistleblow",
        digest: "32b97fad1f94a382f0a1b1d3720863b8ad651cb48f820059a18bc4f7c3b1838f",
        rows: "INSERT INTO holder (user_id, appointed_by_name, appointed_at_us) VALUES (1, 'x', 1);
INSERT INTO holder_key (user_id, recipient, locked, made_at_us) VALUES (1, 'age1x', '00', 1);
INSERT INTO whistleblow (record_id, code_hash, parts) VALUES (900, '00', 1);
INSERT INTO sealed_part (record_id, what, bytes, received_at_us) VALUES (900, 'words', '00', 1);
INSERT INTO sealed_lock (part_n, asker_key, granter_key, bytes) VALUES (1, 1, 2, '00');
INSERT INTO unsealing_layer (unsealing_n, part_n, bytes) VALUES (1, 1, '00');
INSERT INTO unsealing (record_id, reason, asked_by, asked_by_name, asked_at_us, state) VALUES (900, 'x', 1, 'x', 1, 'asked');",
        counts: &[
            ("SELECT COUNT(*) AS n FROM holder_key WHERE retired_at_us IS NULL", 1),
            ("SELECT COUNT(*) AS n FROM sealed_part WHERE words_n IS NULL", 1),
            ("SELECT COUNT(*) AS n FROM unsealing WHERE opinion = '' AND until_us IS NULL", 1),
            ("SELECT COUNT(*) AS n FROM holder WHERE confirmed_by_name IS NULL", 1),
        ],
    },
    Step {
        name: "0027_api_key",
        digest: "1fb0f200cd02fd351b6217c562508c9f3d143c1076279c3beb6be947e3550ea9",
        rows: "INSERT INTO api_key (name, holder, token_hash, shown, datasets, region, per_minute, per_day, valid_until, created_by_name, created_at_us)
VALUES ('x', '市大数据局', 'hash', 'anlan_key_x', '[\"telemetry\"]', '530402', 60, 5000, '2027-12-31', '张三', 1);",
        counts: &[("SELECT COUNT(*) AS n FROM api_key WHERE used_on = '' AND used_n = 0 AND revision = 1 AND revoked_at_us IS NULL", 1)],
    },
    Step {
        name: "0028_document",
        digest: "f7dfa2dd9189389c20f9409ca551a620f1b5a73960a99c613d5b015468da79c2",
        rows: "INSERT INTO document (record_id, content, digest, made_from) VALUES (901, '{}', '00', '{}');",
        counts: &[("SELECT COUNT(*) AS n FROM document WHERE pdf IS NULL AND pdf_digest IS NULL", 1)],
    },
    Step {
        name: "0029_published",
        digest: "b02a2454d5c3f42717f580c5c684ce071493b00c3c96c21f53206bbdb2500f9e",
        rows: "INSERT INTO published_evaluation (record_id, reckoned_at_us, document) VALUES (999, 30, '{\"format\":1}');
INSERT INTO cap_identifier (identifier, record_id, step) VALUES ('53040212500000_20261123075500_0', 999, 'issue');",
        counts: &[
            ("SELECT COUNT(*) AS n FROM published_evaluation WHERE record_id = 999 AND reckoned_at_us = 30", 1),
            ("SELECT COUNT(*) AS n FROM cap_identifier WHERE step = 'issue'", 1),
        ],
    },
    Step {
        name: "0030_assessment",
        digest: "76b0d794ceaa18c923bddfff4f08d16e5bb58bafb6829a5a659f4723a097cc65",
        rows: "INSERT INTO assessment (id, table_id, table_json, year, region, state, revision, made_by_name, made_at_us)
VALUES ('k1', 'division_year', '{}', 2026, '5304', 'open', 1, '张三', 1);
INSERT INTO assessment_unit (assessment, region, excluded) VALUES ('k1', '530402', '');
INSERT INTO assessment_score (assessment, region, item, points, reason, evidence, scored_by_name, scored_at_us)
VALUES ('k1', '530402', 'publicity', '8.5', '台账齐全', '[]', '张三', 2);",
        counts: &[
            ("SELECT COUNT(*) AS n FROM assessment WHERE content IS NULL AND frozen_at_us IS NULL AND year = 2026", 1),
            ("SELECT COUNT(*) AS n FROM assessment_unit AS u JOIN assessment_score AS s ON s.assessment = u.assessment AND s.region = u.region", 1),
            ("SELECT COUNT(*) AS n FROM assessment_score WHERE confirmed_by IS NULL AND confirmed_by_name IS NULL", 1),
        ],
    },
];

#[test]
fn a_written_migration_is_never_edited() {
    let have = migrations();
    let want: Vec<(&str, String)> = STEPS.iter().map(|s| (s.name, s.digest.to_owned())).collect();
    assert_eq!(have, want, "append a migration and its step; what is there stays as it is");
    // Nobody forgets to list a file.
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")).unwrap().count();
    assert_eq!(files, have.len());
}

#[tokio::test]
async fn a_database_of_every_earlier_schema_comes_to_the_newest_with_all_it_holds() {
    let on = async |url: &str, n: usize| {
        of_schema(url, n, STEPS[..n].iter().map(|s| s.rows).collect()).await;
        let store = Store::open(url).await.unwrap();
        for (text, want) in STEPS[..n].iter().flat_map(|s| s.counts) {
            assert_eq!(number(&store, text).await, *want, "from schema {n}: {text}");
        }
        // Who was made before there were marks has one.
        let marked = number(&store, "SELECT COUNT(*) AS n FROM enterprise WHERE LENGTH(mark) = 32").await;
        assert_eq!(marked, i64::from(n < 15), "from schema {n}");
        // What the newest code reads and writes of it.
        let node = Scope::node();
        let all = Paging::all();
        let points = store.points(&node, &PointFilter::default(), &all).await.unwrap().items;
        assert_eq!((points.len(), points[0].point.code.as_str()), (1, "TI-1"));
        let vehicles = store.vehicles(&node, &VehicleFilter::default(), &all).await.unwrap().items;
        assert_eq!((vehicles.len(), vehicles[0].vehicle.phone.as_str()), (1, "13900000001"));
        assert_eq!(store.standing_alarms().await.unwrap().len(), 1);
        assert_eq!(store.projected().await.unwrap(), 77);
        assert_eq!(store.standing_holds().await.unwrap().len(), usize::from(n >= 5));
        let note = Note { action: "first", noun: "session", subject: "x".into(), detail: serde_json::json!({}) };
        store.note(&node, note, Timestamp::EPOCH).await.unwrap();
        assert!(store.verify_audit(None).await.unwrap().complete);
        store.close().await;
    };
    for n in 1..=STEPS.len() {
        let directory = tempfile::tempdir().unwrap();
        on(&sqlite_url(directory.path()), n).await;
        if let Some(server) = postgres_server() {
            let database = Database::create(server).await;
            on(&database.url, n).await;
            database.remove().await;
        }
    }
}
